package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"sort"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// go-oidc with x/oauth2, as a program without a secret uses them: how it proves itself is left to them.
func withOidc(ctx context.Context) {
	provider := must(oidc.NewProvider(ctx, asked.Issuer))
	var server struct {
		Revocation    string `json:"revocation_endpoint"`
		Introspection string `json:"introspection_endpoint"`
	}
	must(0, provider.Claims(&server))
	scopes := []string{oidc.ScopeOpenID, "docs.search", "docs.read", "approvals.request"}
	config := oauth2.Config{
		ClientID: asked.ClientID, Endpoint: provider.Endpoint(), RedirectURL: asked.RedirectURI, Scopes: scopes,
	}

	token := signIn(ctx, provider, config)
	say(values{"shows": "retrieve", "found": found(config.Client(ctx, token), nil)})
	approve(config.Client(ctx, token))

	renewed := must(config.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token())
	client := config.Client(ctx, renewed)
	isNew := renewed.AccessToken != token.AccessToken && renewed.RefreshToken != token.RefreshToken
	say(values{"shows": "refresh", "new": isNew, "found": found(client, nil)})

	// Neither library has these two: the form, as RFC 7009 and RFC 7662 say.
	say(values{"shows": "introspection by hand", "active": introspected(server.Introspection, renewed)})
	_, status := post(http.DefaultClient, server.Revocation, form(renewed.AccessToken))
	say(values{
		"shows": "revocation by hand", "status": status, "found": found(client, nil),
		"active": introspected(server.Introspection, renewed),
	})
	post(http.DefaultClient, server.Revocation, form(renewed.RefreshToken))
	_, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: renewed.RefreshToken}).Token()
	say(values{"shows": "revocation by hand", "refused": code(err)})

	// As RFC 8628 has it, at another program of the same agent.
	begun := must(config.DeviceAuth(ctx, oauth2.SetAuthURLParam("resource", asked.URL)))
	wait(values{"device": begun.VerificationURI, "code": begun.UserCode})
	device := must(config.DeviceAccessToken(ctx, begun))
	say(values{"shows": "device", "found": found(config.Client(ctx, device), nil)})
}

// signIn has the person sign in by code and PKCE, and verifies the ID token.
func signIn(ctx context.Context, provider *oidc.Provider, config oauth2.Config) *oauth2.Token {
	verifier, state, nonce := oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	page := config.AuthCodeURL(
		state, oauth2.S256ChallengeOption(verifier), oidc.Nonce(nonce), oauth2.SetAuthURLParam("resource", asked.URL),
	)
	back := must(url.Parse(wait(values{"open": page}))).Query()
	if back.Get("state") != state || back.Get("iss") != asked.Issuer {
		panic("mixed up")
	}
	token := must(config.Exchange(ctx, back.Get("code"), oauth2.VerifierOption(verifier)))
	raw, _ := token.Extra("id_token").(string)
	identity := must(provider.Verifier(&oidc.Config{ClientID: asked.ClientID}).Verify(ctx, raw))
	if identity.Nonce != nonce {
		panic("another sign-in's")
	}
	_, err := provider.UserInfo(ctx, config.TokenSource(ctx, token))
	say(values{
		"shows": "sign-in, ID token", "signed_in": identity.Subject, "scope": token.Extra("scope"),
		"user_info": err.Error(),
	})
	return token
}

// approve asks for what an answer offers, and puts the question again with the person's yes.
func approve(client *http.Client) {
	answer, _ := post(client, asked.URL+"/retrieve", values{"query": asked.Query})
	offer := answer["approval"].(map[string]any)["offer_id"]
	details := []values{{"type": "document_access", "offer": offer}}
	approval, _ := post(client, asked.URL+"/approvals", values{"authorization_details": details, "purpose": "The report"})
	id := approval["id"].(string)
	wait(values{"decide": id})
	read := must(client.Get(asked.URL + "/approvals/" + id))
	defer read.Body.Close()
	var decided values
	must(0, json.NewDecoder(read.Body).Decode(&decided))
	say(values{"shows": "approval", "found": found(client, decided["grant_id"])})
}

// found gives the documents that a question finds, or the status of its refusal.
func found(client *http.Client, approval any) any {
	question := values{"query": asked.Query}
	if approval != nil {
		question["approval"] = approval
	}
	answer, status := post(client, asked.URL+"/retrieve", question)
	if status != http.StatusOK {
		return status
	}
	documents := []string{}
	for _, result := range answer["results"].([]any) {
		documents = append(documents, result.(map[string]any)["document_id"].(string))
	}
	sort.Strings(documents)
	return documents
}

func introspected(endpoint string, token *oauth2.Token) any {
	answer, _ := post(http.DefaultClient, endpoint, form(token.AccessToken))
	return answer["active"]
}

func form(token string) url.Values {
	return url.Values{"client_id": {asked.ClientID}, "token": {token}}
}

// post sends a form or JSON, and gives the answer's members and its status.
func post(client *http.Client, to string, body any) (values, int) {
	kind, text := "application/json", ""
	if form, isForm := body.(url.Values); isForm {
		kind, text = "application/x-www-form-urlencoded", form.Encode()
	} else {
		text = string(must(json.Marshal(body)))
	}
	response := must(client.Post(to, kind, bytes.NewBufferString(text)))
	defer response.Body.Close()
	var answer values
	_ = json.NewDecoder(response.Body).Decode(&answer) // a revocation is answered with nothing
	return answer, response.StatusCode
}

func code(err error) string {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return "it worked"
	}
	return refused.ErrorCode
}
