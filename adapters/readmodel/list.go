package readmodel

import (
	"context"
	"strings"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/application"
)

// conditions are what a list is narrowed by.
type conditions struct {
	terms []string
	args  []any
}

func (c *conditions) add(term string, args ...any) {
	c.terms, c.args = append(c.terms, term), append(c.args, args...)
}

func (c *conditions) addText(term, arg string) {
	if arg != "" {
		c.add(term, arg)
	}
}

func (c *conditions) addTime(term string, at time.Time) {
	if !at.IsZero() {
		c.add(term, database.Micros(at))
	}
}

// page reads one row more than the page has, and counts the whole list up to the bound.
func (m *Models) page(ctx context.Context, rows any, columns, table, joins, alias string, where conditions, p application.Paging) (int, error) {
	condition := strings.Join(where.terms, " AND ")
	var total int
	err := m.db.Get(ctx, &total, "SELECT count(*) FROM (SELECT 1 FROM "+table+" AS "+alias+" WHERE "+condition+" LIMIT ?) AS counted",
		append(append([]any{}, where.args...), application.CountBound)...)
	if err != nil {
		return 0, err
	}
	if p.Cursor > 0 {
		condition += " AND " + alias + ".position < ?"
		where.args = append(where.args, int64(p.Cursor))
	}
	err = m.db.Select(ctx, rows, "SELECT "+columns+" FROM "+table+joins+"WHERE "+condition+" ORDER BY "+alias+".position DESC LIMIT ? OFFSET ?",
		append(where.args, p.Limit+1, p.Offset())...)
	return total, err
}
