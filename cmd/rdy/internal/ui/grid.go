package ui

import (
	"html/template"
	"strconv"
	"strings"
)

// grid is a table whose rows come and go while the page is open. A poll sends the cells that it
// changes, and all of the table only if the rows are others.
type grid struct {
	ID      string
	Caption string
	Class   string // of the table
	Columns []gridColumn
	Rows    []gridRow
	None    string // what the table says without rows
}

type gridColumn struct{ Name, Class string }

type gridRow struct {
	Key   string // what the row is about
	Texts []template.HTML
}

// gridCell is a cell with the class of its column.
type gridCell struct {
	Class string
	Cell  cell
}

// cell returns the table.
func (g *grid) cell() cell {
	c := cell{ID: g.ID, Inner: []cell{}}
	rows := make([][]gridCell, len(g.Rows))
	var key strings.Builder
	for i, row := range g.Rows {
		key.WriteString(row.Key + "\n")
		for j, text := range row.Texts {
			in := cell{ID: g.ID + strconv.Itoa(i) + "-" + strconv.Itoa(j), HTML: text}
			c.Inner = append(c.Inner, in)
			rows[i] = append(rows[i], gridCell{g.Columns[j].Class, in})
		}
	}
	c.Key = key.String()
	c.HTML = part(g.ID, "grid", struct {
		*grid
		Cells [][]gridCell
	}{g, rows}).HTML
	return c
}
