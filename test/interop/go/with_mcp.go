package main

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// MCP's SDK for Go: it finds out how to sign in, asks for more where a tool needs it, and may be sent to a page.
func withMcp(ctx context.Context) {
	signIn := must(auth.NewAuthorizationCodeHandler(askingForLess()))
	session := connect(ctx, signIn, &mcp.ClientOptions{})
	defer session.Close()
	listed := must(session.ListTools(ctx, nil))
	tools := []string{}
	for _, tool := range listed.Tools {
		tools = append(tools, tool.Name)
	}
	say(values{"shows": "sign-in", "tools": tools, "revision": session.InitializeResult().ProtocolVersion})

	call(ctx, session, "retrieve", "retrieve", values{"query": asked.Query})
	call(ctx, session, "step-up", "read_document", values{"id": asked.Document})

	// Without elicitation: the answer says where the person decides, and how to go on.
	answer := call(ctx, session, "retrieve", "retrieve", values{"query": asked.Query})
	pending := call(ctx, session, "approval", "request_approval", approvalOf(answer))
	wait(values{"decide": pending["id"]})
	decided := call(ctx, session, "approval", "request_approval", values{"id": pending["id"]})
	call(ctx, session, "approval", "retrieve", values{"query": asked.Query, "approval": decided["grant_id"]})

	// With it: the page is opened, and the same call gives what came of it.
	opening := connect(ctx, signIn, &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{
			Elicitation: &mcp.ElicitationCapabilities{URL: &mcp.URLElicitationCapabilities{}},
		},
		ElicitationHandler: func(_ context.Context, request *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			wait(values{"decide": request.Params.URL})
			return &mcp.ElicitResult{Action: "accept"}, nil
		},
	})
	defer opening.Close()
	answer = call(ctx, opening, "retrieve", "retrieve", values{"query": asked.Query})
	decided = call(ctx, opening, "approval", "request_approval", approvalOf(answer))
	call(ctx, opening, "approval", "retrieve", values{"query": asked.Query, "approval": decided["grant_id"]})
}

func approvalOf(answer values) values {
	offer := answer["approval"].(map[string]any)["offer_id"]
	return values{
		"authorization_details": []values{{"type": "document_access", "offer": offer}}, "purpose": "The report",
	}
}

func call(ctx context.Context, session *mcp.ClientSession, shows, tool string, with values) values {
	result := must(session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: with}))
	var answer values
	must(0, json.Unmarshal([]byte(result.Content[0].(*mcp.TextContent).Text), &answer))
	say(values{"shows": shows, "called": tool, "error": result.IsError, "result": answer})
	return answer
}

func connect(ctx context.Context, signIn auth.OAuthHandler, options *mcp.ClientOptions) *mcp.ClientSession {
	client := mcp.NewClient(&mcp.Implementation{Name: "go", Version: "1.0.0"}, options)
	transport := &mcp.StreamableClientTransport{Endpoint: asked.URL + "/mcp", OAuthHandler: signIn}
	return must(client.Connect(ctx, transport, nil))
}

// askingForLess than the server names, at first: for more when a tool says what it takes.
func askingForLess() *auth.AuthorizationCodeHandlerConfig {
	step := "sign-in"
	return &auth.AuthorizationCodeHandlerConfig{
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: asked.ClientID, Issuer: asked.Issuer},
		RedirectURL:         asked.RedirectURI,
		ScopeFilter: func(named []string) []string {
			if step != "sign-in" {
				return named
			}
			return []string{"docs.search", "approvals.request"}
		},
		AuthorizationCodeFetcher: func(_ context.Context, page *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			scopes := strings.Fields(must(url.Parse(page.URL)).Query().Get("scope"))
			slices.Sort(scopes)
			say(values{"shows": step, "scopes": scopes})
			step = "step-up"
			back := must(url.Parse(wait(values{"open": page.URL}))).Query()
			return &auth.AuthorizationResult{Code: back.Get("code"), State: back.Get("state"), Iss: back.Get("iss")}, nil
		},
	}
}
