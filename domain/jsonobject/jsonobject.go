// Package jsonobject writes JSON objects field by field, for the few that are written for
// every webhook call: reflection takes several times as long. The bytes are those that
// encoding/json writes.
package jsonobject

import (
	"encoding/json"
	"strconv"
	"time"
)

// Object is an object that is being written.
type Object []byte

// New begins an object of about that many bytes.
func New(size int) Object { return append(make(Object, 0, size), '{') }

func (o Object) name(name string) Object {
	if o[len(o)-1] != '{' {
		o = append(o, ',')
	}
	return append(append(append(o, '"'), name...), '"', ':')
}

// Text adds a string. The names of fields are written as they are.
func (o Object) Text(name, value string) Object { return appendText(o.name(name), value) }

// TextIfAny adds a string unless it is empty.
func (o Object) TextIfAny(name, value string) Object {
	if value == "" {
		return o
	}
	return o.Text(name, value)
}

// Int adds a number.
func (o Object) Int(name string, value int) Object {
	return strconv.AppendInt(o.name(name), int64(value), 10)
}

// Bool adds true or false.
func (o Object) Bool(name string, value bool) Object {
	return strconv.AppendBool(o.name(name), value)
}

// BoolIfTrue adds true, or nothing.
func (o Object) BoolIfTrue(name string, value bool) Object {
	if !value {
		return o
	}
	return o.Bool(name, value)
}

// Time adds a time of the years 0 to 9999.
func (o Object) Time(name string, value time.Time) Object {
	return append(value.AppendFormat(append(o.name(name), '"'), time.RFC3339Nano), '"')
}

// TimeIfAny adds a time unless it is nil.
func (o Object) TimeIfAny(name string, value *time.Time) Object {
	if value == nil {
		return o
	}
	return o.Time(name, *value)
}

// Begin begins an object inside the object, to which all is added until its End.
func (o Object) Begin(name string) Object { return append(o.name(name), '{') }

// End ends the object that was begun last.
func (o Object) End() Object { return append(o, '}') }

func appendText(out []byte, value string) []byte {
	for i := range len(value) {
		switch c := value[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			escaped, _ := json.Marshal(value) // strings always encode
			return append(out, escaped...)
		}
	}
	return append(append(append(out, '"'), value...), '"')
}
