import { html } from 'hono/html'
import type { ConnectionRequest, LabelledParty } from '../../delegation/vault/agreements.ts'
import type { AgreedParty, OwnConnection } from '../../delegation/vault/own-connections.ts'
import type { Provider, Rule } from '../../delegation/vault/provider.ts'
import { digestOfPlace } from '../../delegation/vault/rows.ts'
import { checkLine, doneLine, type Html, hiddenField, page, problemLine } from './layout.ts'
import { type OwnNav, ownNav } from './own-nav.ts'
import { partyValue } from './party.ts'

export type ConnectionsDone =
  | 'connected'
  | 'agreed'
  | 'refused'
  | 'agent_removed'
  | 'disconnected'
  | 'disconnected_here'

const doneWords: Readonly<Record<ConnectionsDone, string>> = {
  connected: 'Connected. What you agreed to counts from now on.',
  agreed: 'Agreed. It counts from now on.',
  refused: 'Refused. The agent can do nothing there for you.',
  agent_removed: 'Taken back. That agent can use this account no more.',
  disconnected: 'Disconnected. The tokens are deleted here, and the provider was told that they are over.',
  disconnected_here:
    'Disconnected. The tokens are deleted here. The provider could not be told: take Remit off the list of connected applications there, too.',
}

export const isDone = (value: string | undefined): value is ConnectionsDone =>
  value !== undefined && Object.hasOwn(doneWords, value)

/** What the page of connected accounts shows. */
export interface ConnectionsPage extends OwnNav {
  readonly connections: readonly OwnConnection[]
  readonly requests: readonly ConnectionRequest[]
  readonly providers: readonly Provider[]
  /** Whom the person may let use an account without being asked. */
  readonly offered: readonly LabelledParty[]
  readonly notice?: ConnectionsDone
  readonly problem?: string
}

/** Accounts elsewhere that agents may use, by which agent and how far; how to end it, and who waits. */
export function connectionsPage(connectionsView: ConnectionsPage): string {
  const { person, csrf, waiting, connections, requests, providers, notice, problem } = connectionsView
  return page({
    title: 'Connected accounts',
    body: html`<div class="top"><h1>Connected accounts</h1>
<span class="soft who">${person}</span></div>
${doneLine(notice && doneWords[notice])}
${problemLine(problem)}
<p class="soft">Agents use these accounts through Remit, which keeps the keys to them. No agent ever sees one, and each may do only what you agreed to.</p>
${requests.map((request) => waits(request, providers))}
${connections.length === 0 ? html`<p class="empty">No account is connected.</p>` : connections.map((connection) => card(connection, csrf))}
${
  providers.length === 0
    ? html`<p class="soft">There is no provider here whose accounts could be connected.</p>`
    : html`<details${connections.length === 0 && requests.length === 0 ? html` open` : ''}><summary>Connect an account</summary>
${connectionsView.offered.length === 0 ? html`<p class="empty">First <a href="/delegations">lend an agent something</a>: then you can let it use an account as well.</p>` : providers.map((provider) => connectForm({ provider, csrf, parties: connectionsView.offered }))}</details>`
}
${ownNav({ current: '/connections', csrf, waiting })}`,
  })
}

const titleOf = (name: string, providers: readonly Provider[]): string =>
  providers.find((provider) => provider.name === name)?.title ?? name

const waits = (request: ConnectionRequest, providers: readonly Provider[]): Html =>
  html`<section class="card" aria-label="${request.agentTitle} waits"><h2>${request.agentTitle} <span class="tag">waits for you</span></h2>
<p class="soft">It wants to use your ${titleOf(request.provider, providers)} account, through ${request.clientTitle}.</p>
<p><a href="/connections/requests/${request.id}">Look at it</a></p></section>`

function card(connection: OwnConnection, csrf: string): Html {
  const provider = connection.providerTitle ?? connection.provider
  const id = encodeURIComponent(connection.id)
  return html`<section class="card" aria-label="${provider}: ${connection.accountTitle}">
<h2>${provider}</h2><p>${connection.accountTitle}</p>
${connection.providerTitle === undefined ? html`<p class="problem">It is not set up here any more: nobody can use it.</p>` : ''}
${connection.state === 'live' ? '' : html`<p class="problem" role="alert">${provider} does not renew it any more. Connect the same account again; what you agreed to stays.</p>`}
${connection.agents.length === 0 ? html`<p class="soft">No agent may use it.</p>` : html`<ul class="rows">${connection.agents.map((agent) => agreed(agent, { id, csrf }))}</ul>`}
${connection.state === 'live' || connection.providerTitle === undefined ? '' : connectAgain(connection.provider, csrf)}
<form method="post" action="/connections/${id}/disconnect">${hiddenField('csrf', csrf)}<button class="bad" type="submit">Disconnect<span class="unseen"> ${provider}: ${connection.accountTitle}</span></button></form>
</section>`
}

/** The same account once more: nothing new is agreed to. */
const connectAgain = (provider: string, csrf: string): Html =>
  html`<form class="way" method="post" action="/connections/${provider}/connect">${hiddenField('csrf', csrf)}<input type="hidden" name="again" value="yes"><button class="main wakes" type="submit">Connect again</button></form>`

const agreed = (
  party: AgreedParty,
  { id, csrf }: { readonly id: string; readonly csrf: string },
): Html => html`<li><p><strong>${party.agentTitle}</strong> <small>through ${party.clientTitle}</small></p>
${party.isDisabled ? html`<p class="soft">This agent is disabled: it can do nothing now.</p>` : ''}
<ul>${party.rules.map(ruleWords)}</ul>
<form class="aside" method="post" action="/connections/${id}/agents/remove">${hiddenField('csrf', csrf)}${hiddenField('party', partyValue(party))}<button type="submit">Take back<span class="unseen"> from ${party.agentTitle}</span></button></form></li>`

/** In words, and to the letter: what is shown is what is held to. */
export const ruleWords = ({ title, methods, paths }: Rule): Html =>
  html`<li>${title}<details class="inner exact"><summary><small>exactly</small></summary>${paths.map((path) => html`<code>${methods.join(' ')} ${path}</code><br>`)}</details></li>`

export interface ConnectForm {
  readonly provider: Provider
  readonly csrf: string
  readonly parties: readonly LabelledParty[]
  /** A request of one agent: it alone, and not to be chosen. */
  readonly isFixed?: boolean
  /** Where an account is connected already: agreed to there, without leaving. */
  readonly connection?: OwnConnection
}

/** Who may use it, and for what: agreed to before the browser leaves for the provider. */
export const connectForm = ({
  provider,
  csrf,
  parties,
  isFixed = false,
  connection,
}: ConnectForm): Html => html`<form method="post" action="${connection === undefined ? `/connections/${provider.name}/connect` : `/connections/${encodeURIComponent(connection.id)}/agents`}">
${hiddenField('csrf', csrf)}${hiddenField('shown', connection?.shown ?? digestOfPlace(provider))}${parties.map(({ shown }) => hiddenField('shown', shown))}
${isFixed ? '' : html`<h2>${provider.title}</h2>`}
${
  isFixed
    ? parties.map((party) => hiddenField('party', partyValue(party)))
    : html`<fieldset><legend>Who may use it?</legend>${parties.map((party) =>
        checkLine(
          'party',
          partyValue(party),
          html`${party.agentTitle} <small>through ${party.clientTitle}</small>`,
        ),
      )}</fieldset>`
}
<fieldset><legend>What may it do there?</legend>${provider.rules.map(
  ({ title, methods, paths }, index) =>
    html`<label class="line"><input type="checkbox" name="rule" value="${title}"${index === 0 && !isFixed ? html` checked` : ''}> <span>${title}${methods.every((method) => method === 'GET') ? '' : html` <span class="tag">changes things</span>`}<br><small><code>${methods.join(' ')}</code> ${paths.map((path, methodIndex) => html`${methodIndex === 0 ? '' : ', '}<code>${path}</code>`)}</small></span></label>`,
)}</fieldset>
<p class="soft"><small>Whatever else it wants to do there, it has to ask you for each time.</small></p>
<div class="buttons"><button class="main wakes" type="submit">${connection === undefined ? `Agree, and go to ${provider.title}` : `Agree, with ${connection.accountTitle}`}</button></div>
</form>`

/** What the page of an agent's request for an account shows. */
interface ConnectionRequestPage extends OwnNav {
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
<form class="aside" method="post" action="/connections/requests/${request.id}/refuse">${hiddenField('csrf', csrf)}<button class="wide" type="submit">Refuse</button></form>
<dl><dt>Signed in as</dt><dd>${person}</dd><dt>Asked by</dt><dd>${request.clientTitle} <small>(<code>${request.client}</code>)</small></dd><dt>Goes to</dt><dd>${new URL(provider.issuer).host}</dd></dl>
<p class="soft"><small>If you did not just ask this agent for something, refuse. You can end it at any time under “Connected accounts”.</small></p>
${ownNav({ current: '/connections', csrf, waiting })}`,
  })
}

/** A request that is over, answered, or somebody else's: all the same. */
export const noRequestPage = ({ person, csrf, waiting }: OwnNav): string =>
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
