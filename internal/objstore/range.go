package objstore

// Range returns how many bytes a Get of this range reads from an object of the
// given size, or the error that the contract asks for. Implementations call it
// once they know the size.
func Range(name string, size, offset, length int64) (int64, error) {
	if offset < 0 || length < -1 || offset > size {
		return 0, BadRange(name, offset, length)
	}
	if length == -1 {
		return size - offset, nil
	}
	if length > size-offset {
		return 0, BadRange(name, offset, length)
	}
	return length, nil
}
