package database

// WriterStatements lists what the writing connection of an SQLite database has prepared.
func (db *DB) WriterStatements() []string {
	var list []string
	for text := range db.writer.(*sqliteWriter).prepared {
		list = append(list, text)
	}
	return list
}
