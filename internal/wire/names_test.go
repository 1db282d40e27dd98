package wire

import (
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	tests := []struct {
		name string
		want bool
	}{
		{"t", true},
		{".", true},
		{"-_.", true},
		{"AZaz09._-", true},
		{strings.Repeat("x", 64), true},
		{"t#ephemeral", true},
		{strings.Repeat("x", 54) + "#ephemeral", true},

		{"", false},
		{strings.Repeat("x", 65), false},
		{strings.Repeat("x", 55) + "#ephemeral", false},
		{"#ephemeral", false},
		{"#", false},
		{"t#", false},
		{"t#ephemera", false},
		{"t#Ephemeral", false},
		{"t#ephemeral ", false},
		{"t#ephemeral\n", false},
		{"t#ephemeral#ephemeral", false},
		{"#ephemeralt", false},
		{"a b", false},
		{" t", false},
		{"t\n", false},
		{"a$b", false},
		{"a/b", false},
		{"a:b", false},
		{"a@b", false},
		{"a[b", false},
		{"a`b", false},
		{"a{b", false},
		{"*", false},
		{"naïve", false},
		{"\x00", false},
		{"\xff", false},
	}
	for _, tt := range tests {
		if got := ValidName(tt.name); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.name, got, tt.want)
		}
	}
}
