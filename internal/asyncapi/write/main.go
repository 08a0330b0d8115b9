// Command write writes the AsyncAPI document where the server has it from.
package main

import (
	"fmt"
	"os"

	"hooktrail/internal/asyncapi"
)

// It is run by go generate, in the directory of the package that embeds the document.
func main() {
	document, err := asyncapi.Document("../..")
	if err == nil {
		err = os.WriteFile("asyncapi.json", document, 0o644) //nolint:gosec // a source file, which others read
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
