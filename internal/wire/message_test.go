package wire

import "testing"

// Every byte at every place of an ID is judged by itself.
func TestPrintableIDs(t *testing.T) {
	for c := range 256 {
		want := '!' <= c && c <= '~'
		for at := range IDLen {
			for _, rest := range []byte{'!', '0', 'a', '~'} {
				var id ID
				for i := range id {
					id[i] = rest
				}
				if !id.Printable() {
					t.Fatalf("%q is refused", id[:])
				}
				id[at] = byte(c)
				if id.Printable() != want {
					t.Errorf("%q: %t", id[:], !want)
				}
			}
		}
	}
	if (&ID{}).Printable() {
		t.Error("zeros are printable")
	}
}
