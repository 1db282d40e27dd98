package publishing

// Merge returns the members of a pool after a poll: those whose addresses are not gone,
// and a new one for each listed address that has none. removed are the others. members,
// listed and gone are sorted by address and name each address once; so are the results.
// addr returns the address of a member, and join makes one.
//
// The work is linear: each list is read once.
func Merge[M any](members []M, listed, gone []string, addr func(M) string, join func(string) M) (merged, removed []M) {
	for _, m := range members {
		at := addr(m)
		for len(listed) > 0 && listed[0] < at {
			merged = append(merged, join(listed[0]))
			listed = listed[1:]
		}
		if len(listed) > 0 && listed[0] == at {
			listed = listed[1:]
		}
		for len(gone) > 0 && gone[0] < at {
			gone = gone[1:]
		}
		if len(gone) > 0 && gone[0] == at {
			removed = append(removed, m)
		} else {
			merged = append(merged, m)
		}
	}
	for _, at := range listed {
		merged = append(merged, join(at))
	}
	return merged, removed
}
