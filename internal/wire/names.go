package wire

const (
	maxName   = 64
	ephemeral = "#ephemeral"
)

// ValidName tells whether name may name a topic or a channel: 1 to 64 bytes of
// letters, digits, '.', '_' and '-', with "#ephemeral" allowed, and counted,
// as a suffix.
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
