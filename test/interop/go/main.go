// Libraries for Go as they come, driven by a test: JSON lines out, what the person did in.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"os"
	"time"
)

var asked struct {
	URL         string `json:"url"`
	Issuer      string `json:"issuer"`
	ClientID    string `json:"client_id"`
	RedirectURI string `json:"redirect_uri"`
	Query       string `json:"query"`
	Document    string `json:"document"`
}

type values map[string]any

var heard = bufio.NewScanner(os.Stdin)

func say(said values) { must(0, json.NewEncoder(os.Stdout).Encode(said)) }

// wait says what the person is to do, and gives what came of it.
func wait(said values) string {
	say(said)
	heard.Scan()
	return heard.Text()
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Panic(err)
	}
	return value
}

func main() {
	must(0, json.Unmarshal([]byte(os.Args[2]), &asked))
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	map[string]func(context.Context){"oidc": withOidc, "mcp": withMcp}[os.Args[1]](ctx)
}
