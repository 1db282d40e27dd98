package top

// column is a column of a table.
type column struct {
	title string
	sort  sorting // that its title shows; "" if rows cannot be sorted by it
	gap   int     // spaces before it
	width int     // at least
	left  bool    // aligned left
	// flex makes the column as wide as there is room. For less than flex cells, columns to its
	// right are left out. One column of a table is flexible, and aligned left.
	flex int
}

// indent is how many cells are before the first column: the cursor, a mark and a space.
const indent = 3

// table draws rows in columns.
type table struct {
	columns []column
	widths  []int // of the columns
}

// newTable returns a table for w cells. needs are the widths that cells need, of all columns.
// As many columns are left out from the right as it takes.
func newTable(columns []column, needs []int, w int) table {
	t := table{columns: columns, widths: make([]int, len(columns))}
	for {
		flexible, used := 0, indent
		for i, c := range t.columns {
			used += c.gap
			if c.flex > 0 {
				flexible = i
				continue
			}
			t.widths[i] = max(c.width, needs[i])
			used += t.widths[i]
		}
		t.widths[flexible] = w - used
		if w-used >= t.columns[flexible].flex || len(t.columns) <= flexible+1 {
			t.widths[flexible] = max(w-used, 1)
			return t
		}
		t.columns = t.columns[:len(t.columns)-1]
	}
}

// header returns the titles. The one that rows are sorted by has an arrow.
func (t *table) header(by sorting) string {
	cells := make([]string, len(t.columns))
	for i, c := range t.columns {
		cells[i] = titled(c, by)
	}
	return t.line(blank(indent), cells)
}

// titled returns the title of a column.
func titled(c column, by sorting) string {
	if c.sort != "" && c.sort == by {
		return c.title + "↓"
	}
	return c.title
}

// line returns a row. It may have more cells than there are columns.
func (t *table) line(prefix string, cells []string) string {
	line := prefix
	for i, c := range t.columns {
		line += blank(c.gap)
		if c.left || c.flex > 0 {
			line += alignLeft(cells[i], t.widths[i])
		} else {
			line += alignRight(cells[i], t.widths[i])
		}
	}
	return line
}

// needed returns the widths that the rows need, at least those of before. They do not shrink
// while the order of the rows is kept, so that columns do not move with every figure.
func needed(before []int, columns []column, by sorting, rows [][]string) []int {
	needs := make([]int, len(columns))
	copy(needs, before)
	for i, c := range columns {
		needs[i] = max(needs[i], width(titled(c, by)))
		for _, row := range rows {
			needs[i] = max(needs[i], width(row[i]))
		}
	}
	return needs
}
