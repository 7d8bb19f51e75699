package service

// NewHost asks for a host.
type NewHost struct {
	Name    string
	Address string // for people
	// Remote is true when the machine is another one than the server's: workers
	// join for it. Otherwise the worker inside serve stands on it.
	Remote bool
}
