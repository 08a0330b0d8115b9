// Package eventlogtest holds the stored form of events: what one release has written, every
// later one must read.
package eventlogtest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"hooktrail/domain/eventlog"
)

var update = flag.Bool("update", false, "write the golden files of new events; files that are there are never changed")

const directory = "testdata/events"

// Golden compares the events of a package with the files in its testdata/events, one for every
// version of every type that there ever was. examples has an event for each file, by its name
// without ".json": "<type>.v<schema>". A file decodes to its example; an example of the current
// version has no empty field and encodes to its file, byte by byte.
func Golden(t *testing.T, codec *eventlog.Codec, examples map[string]eventlog.Event) {
	t.Helper()
	if *update {
		if err := writeNew(codec, examples); err != nil {
			t.Fatal(err)
		}
	}
	for _, problem := range check(codec, os.DirFS(directory), examples) {
		t.Error(problem)
	}
}

func fileName(event string, schema int) string { return fmt.Sprintf("%s.v%d", event, schema) }

// writeNew writes the files of current versions that are not there yet.
func writeNew(codec *eventlog.Codec, examples map[string]eventlog.Event) error {
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return err
	}
	for event, current := range codec.Names() {
		name := fileName(event, current)
		example, given := examples[name]
		if !given {
			continue
		}
		proposed, err := codec.Encode(example)
		if err != nil {
			return err
		}
		file, err := os.OpenFile(filepath.Join(directory, name+".json"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = file.Write(append(proposed.Data, '\n'))
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// check gives a line for everything that is wrong.
func check(codec *eventlog.Codec, files fs.FS, examples map[string]eventlog.Event) []string {
	var problems []string
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	known := map[string]bool{}
	for event, current := range codec.Names() {
		for schema := 1; schema <= current; schema++ {
			name := fileName(event, schema)
			known[name] = true
			example, given := examples[name]
			if !given {
				report("%s: the test has no example", name)
				continue
			}
			content, err := fs.ReadFile(files, name+".json")
			if err != nil {
				report("%s: no golden file; run the test with -update to write it", name)
				continue
			}
			if schema == current {
				checkCurrent(codec, name, example, content, report)
			}
			decoded, err := codec.Decode(eventlog.Recorded{Type: event, Schema: schema, Data: content})
			switch {
			case err != nil:
				report("%s: the golden file does not decode: %v", name, err)
			case !reflect.DeepEqual(decoded, example):
				report("%s: the golden file decodes to\n\t%+v\nand the example is\n\t%+v", name, decoded, example)
			}
		}
	}
	for name := range examples {
		if !known[name] {
			report("%s: an example of no event that is declared", name)
		}
	}
	found, err := fs.Glob(files, "*")
	if err != nil {
		report("%v", err)
	}
	for _, file := range found {
		if name, extension := file[:len(file)-len(path.Ext(file))], path.Ext(file); extension != ".json" || !known[name] {
			report("%s: a golden file of no event that is declared; stored events of that type could not be read any more", file)
		}
	}
	slices.Sort(problems)
	return problems
}

func checkCurrent(codec *eventlog.Codec, name string, example eventlog.Event, content []byte, report func(string, ...any)) {
	for _, field := range empty(reflect.ValueOf(example), "") {
		report("%s: the example's field %s is empty, so nothing holds how it is stored", name, field)
	}
	proposed, err := codec.Encode(example)
	switch {
	case err != nil:
		report("%s: the example does not encode: %v", name, err)
	case fileName(proposed.Type, proposed.Schema) != name:
		report("%s: the example is stored as %s", name, fileName(proposed.Type, proposed.Schema))
	case !bytes.Equal(append(proposed.Data, '\n'), content):
		report("%s: the event is stored as\n\t%s\nand was as\n\t%s", name, proposed.Data, bytes.TrimSpace(content))
	}
}

// empty lists the fields that have their zero value, or nothing in them.
func empty(value reflect.Value, field string) []string {
	switch value.Kind() {
	case reflect.Struct:
		if value.Type().PkgPath() == "time" || value.NumField() == 0 {
			break
		}
		var fields []string
		for i := range value.NumField() {
			if value.Field(i).Kind() != reflect.Struct || value.Field(i).NumField() > 0 {
				fields = append(fields, empty(value.Field(i), field+"."+value.Type().Field(i).Name)...)
			}
		}
		return fields
	case reflect.Pointer:
		if !value.IsNil() && value.Elem().Kind() == reflect.Struct {
			return empty(value.Elem(), field)
		}
	case reflect.Slice, reflect.Map:
		if value.Len() == 0 {
			return []string{field}
		}
	default:
	}
	if field != "" && value.IsZero() {
		return []string{field}
	}
	return nil
}
