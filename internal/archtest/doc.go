// Package archtest holds this module to the tables of rooms and wings that
// docs/DESIGN.md explains. It has tests only: a forbidden import or name fails them.
package archtest
