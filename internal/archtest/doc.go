// Package archtest holds the rooms of this module to the import table of
// docs/DESIGN.md. It has tests only: a forbidden import fails them.
package archtest
