// Openapi prints the description of the API, from which the types of the web interface are made.
package main

import (
	"fmt"
	"os"

	httpapi "github.com/sluice-dev/sluice/http"
)

func main() {
	document, err := httpapi.Document()
	if err == nil {
		_, err = os.Stdout.Write(document)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}
