import { html } from 'hono/html'
import type { ConnectionRequest } from '../../delegation/vault/labels.ts'
import type { OwnConnection } from '../../delegation/vault/own-connections.ts'
import type { Provider } from '../../delegation/vault/provider.ts'
import { connectForm } from './connections.ts'
import { page } from './layout.ts'
import { type OwnNav, ownNav } from './own-nav.ts'

/** What the page of an agent's request for an account shows. */
export interface ConnectionRequestPage extends OwnNav {
  readonly person: string
  readonly request: ConnectionRequest
  readonly provider: Provider
  /** Of this provider, which this person has connected already. */
  readonly connected: readonly OwnConnection[]
}

/** Who asks for what, in our words from our registry, before anything leads to the provider. */
export function connectionRequestPage(requestView: ConnectionRequestPage): string {
  const { person, csrf, waiting, request, provider, connected } = requestView
  const form = { provider, csrf, parties: [request], isFixed: true }
  const liveConnections = connected.filter(({ state }) => state === 'live')
  return page({
    title: `Let ${request.agentTitle} use ${provider.title}?`,
    body: html`<h1>Let it use your ${provider.title} account?</h1>
<p>The agent <strong>${request.agentTitle}</strong> (<code>${request.agent}</code>), through <strong>${request.clientTitle}</strong>, wants to use your account at <strong>${provider.title}</strong> for you.</p>
<p class="soft">What it is for: ${request.purpose} It never gets the key to your account: Remit makes each call, and only those that you agree to here.</p>
${liveConnections.map((connection) => connectForm({ ...form, connection }))}
${liveConnections.length === 0 ? connectForm(form) : html`<details><summary>Use another account</summary>${connectForm(form)}</details>`}
<form class="aside" method="post" action="/connections/requests/${request.id}/refuse"><input type="hidden" name="csrf" value="${csrf}"><button class="wide" type="submit">Refuse</button></form>
<dl><dt>Signed in as</dt><dd>${person}</dd><dt>Asked by</dt><dd>${request.clientTitle} <small>(<code>${request.client}</code>)</small></dd><dt>Goes to</dt><dd>${new URL(provider.issuer).host}</dd></dl>
<p class="soft"><small>If you did not just ask this agent for something, refuse. You can end it at any time under “Connected accounts”.</small></p>
${ownNav({ current: '/connections', csrf, waiting })}`,
  })
}

/** A request that is over, answered, or somebody else's: all the same. */
export const noRequestPage = ({ person, csrf, waiting }: OwnNav & { readonly person: string }): string =>
  page({
    title: 'Nothing here for you',
    body: html`<h1>There is nothing here for you</h1>
<p>You are signed in as <strong>${person}</strong>. This request was answered already, is over, or is for somebody else.</p>
<p><a href="/connections">Your connected accounts</a></p>
${ownNav({ current: '/connections', csrf, waiting })}`,
  })

/** A connection that came to nothing. */
export const notConnectedPage = (problem: string): string =>
  page({
    title: 'Not connected',
    body: html`<h1>The account is not connected</h1>
<p class="problem" role="alert">${problem}</p><p><a href="/connections">Back to your connected accounts</a></p>`,
  })
