package definition

// TypeNames returns the names of the types that a field may have.
func TypeNames() []string { return sorted(pgTypes) }
