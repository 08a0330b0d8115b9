package hooktrail

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ListOptions say which part of a list is wanted.
type ListOptions struct {
	// Page counts from 1.
	Page int
	// Limit is how many entries a page has: 1 to 100, default 20. Methods that follow a list to
	// its end read pages of 100 unless it says otherwise.
	Limit int
	// Cursor is the NextCursor of the part before; it takes the place of Page and neither skips
	// nor repeats entries while others are added.
	Cursor string
}

func (o ListOptions) addTo(query url.Values) {
	set(query, "cursor", o.Cursor)
	if o.Page != 0 {
		query.Set("page", strconv.Itoa(o.Page))
	}
	if o.Limit != 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
}

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func setTime(query url.Values, name string, at time.Time) {
	if !at.IsZero() {
		query.Set(name, at.UTC().Format(time.RFC3339Nano))
	}
}

// List is a part of a list.
type List[T any] struct {
	Data []T  `json:"data"`
	Meta Meta `json:"meta"`
}

func (*List[T]) wholeAnswer() {}

// Meta says where in the list the part is.
type Meta struct {
	// Total is how many entries the whole list has. Counting ends at 10,000: then TotalCapped is
	// true and there are at least so many.
	Total       int  `json:"total"`
	TotalCapped bool `json:"total_capped,omitempty"`
	Page        int  `json:"page"`
	Limit       int  `json:"limit"`
	Pages       int  `json:"pages"`
	TotalPages  int  `json:"total_pages"`
	// NextCursor leads to the next part; it is empty in the last one.
	NextCursor string `json:"next_cursor,omitempty"`
}

func list[T any](ctx context.Context, c *Client, path string, query url.Values, options []RequestOption) (*List[T], error) {
	var part List[T]
	if err := c.manage(ctx, http.MethodGet, path, query, nil, &part, options); err != nil {
		return nil, err
	}
	return &part, nil
}

// all follows a list by its cursors.
func all[T any](ctx context.Context, c *Client, path string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if !query.Has("limit") {
			query.Set("limit", "100")
		}
		for {
			part, err := list[T](ctx, c, path, query, nil)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, entry := range part.Data {
				if !yield(entry, nil) {
					return
				}
			}
			if part.Meta.NextCursor == "" {
				return
			}
			query.Del("page")
			query.Set("cursor", part.Meta.NextCursor)
		}
	}
}

func failing[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}
}
