package main

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

// align writes rows in columns: the first ones, whose number is left, are aligned left,
// the others right. Cells may come from the cluster: their control characters are escaped.
func align(out *bytes.Buffer, left int, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = string(visible.Escape([]byte(cell), ""))
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < left {
				line.WriteString(cell + space)
			} else {
				line.WriteString(space + cell)
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " "))
		out.WriteByte('\n')
	}
}
