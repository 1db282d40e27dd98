package wire

const (
	maxName   = 64
	ephemeral = "#ephemeral"
)

// ValidName reports whether a topic or a channel may have this name: 1 to 64
// ASCII letters, digits, '.', '_' and '-'. At least one of them may be followed
// by the suffix "#ephemeral", which counts towards the 64.
func ValidName(name string) bool {
	if len(name) > maxName {
		return false
	}
	if n := len(name) - len(ephemeral); n >= 0 && name[n:] == ephemeral {
		name = name[:n]
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return name != ""
}
