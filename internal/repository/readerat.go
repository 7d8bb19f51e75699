package repository

// At returns a reader of another snapshot that shares index and lock: whoever looks into
// many snapshots loads the index once. It finds all of those that were listed before the
// first reader was made. Closing one closes both.
func (r *Reader) At(s Snapshot) *Reader {
	other := *r
	other.snapshot = s
	return &other
}
