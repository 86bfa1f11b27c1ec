import { html } from 'hono/html'
import type { Lendable } from '../../delegation/lending/lendable.ts'
import type { ConsentPending } from '../../delegation/oauth/interactions.ts'
import type { Agent } from '../../delegation/registry/agents.ts'
import { isLoopback } from '../../delegation/registry/clients.ts'
import { limitHints } from './agent-limits.ts'
import { detailLists } from './details.ts'
import { type Choice, checkLine, type Html, hiddenField, optionList, page, problemLine } from './layout.ts'
import { sayScopes } from './scopes.ts'

/** What the consent page shows. */
export interface ConsentPage {
  readonly pending: ConsentPending
  readonly action: string
  readonly refuse: string
  /** Where they first show that it is they who sit there; left out: they have, or a yes takes none. */
  readonly verify: string | undefined
  readonly problem: string | undefined
}

/** How long something may be lent, as pages offer it: in seconds. */
export const ends: readonly Choice[] = [
  ['3600', '1 hour from now'],
  ['28800', '8 hours from now'],
  ['86400', '1 day from now'],
  ['604800', '7 days from now'],
  ['1209600', '14 days from now'],
]

export const endByDefault = '28800'

/**
 * Says who asks, for what, until when. Names come from our registry; the client's own words are not shown.
 */
export function consentPage({ pending, action, refuse, verify, problem }: ConsentPage): string {
  const { agent, client, person, csrf } = pending
  const title = titleOf(pending)
  return page({
    title,
    body: html`<h1>${title}</h1>
${agent === undefined ? ownLead(pending) : agentLead(pending)}
${problemLine(problem)}
<form method="post" action="${action}" id="consent">
${hiddenField('csrf', csrf)}${hiddenField('shown', pending.shown)}
${agent === undefined || !pending.isOurs ? '' : objects(pending)}
${details(pending)}
${subAgents(pending)}
<fieldset><legend>Until when?</legend>
<select name="seconds" aria-label="Until when?">${optionList(ends, endByDefault)}</select></fieldset>
</form>
<dl><dt>Signed in as</dt><dd>${person}</dd><dt>Application</dt><dd>${client.title}</dd>
<dt>Goes back to</dt><dd>${destination(pending)}</dd><dt>${pending.addressee === undefined ? 'For the API' : 'Addressed to'}</dt><dd><code>${pending.resource}</code></dd></dl>
<div class="buttons">${
      (agent !== undefined && pending.isOurs && pending.lendable.length === 0) || isEmpty(pending)
        ? ''
        : verify === undefined
          ? html`<button class="main wakes" type="submit" form="consent">Agree</button>`
          : html`<a class="button" href="${verify}">Show that it is you</a>`
    }<form method="post" action="${refuse}">${hiddenField('csrf', csrf)}<button type="submit">Refuse</button></form></div>
${verify === undefined ? '' : html`<p class="soft">Something is done in your name elsewhere: to agree, sign in with a passkey of yours, or at your provider by more than a password. <a href="/passkeys">Add a passkey</a> if you have none.</p>`}
<p class="soft"><small>It ends by itself when that time is over.</small></p>`,
  })
}

function titleOf({ agent, addressee, client, isOurs, isStranger }: ConsentPending): string {
  if (addressee !== undefined) return `Let ${addressee.title} ask for you?`
  if (agent === undefined) return `Let ${client.title} act as you?`
  const clientName = isStranger ? `a program at ${client.title}` : agent.title
  return isOurs ? `Let ${clientName} read for you?` : `Let ${clientName} act for you there?`
}

const agentLead = (pending: ConsentPending): Html =>
  pending.isStranger ? strangerLead(pending) : knownLead(pending)

/** Its own name and words are not shown: whoever has the address chose them. */
const strangerLead = ({ client, scopes, redirectUri }: ConsentPending): Html =>
  html`<p>A program at <strong>${client.title}</strong> wants to <strong>${sayScopes(scopes)}</strong> for you.</p>
<p class="problem">Nobody registered it here, and nobody here vouches for it: all that is known is its address, <code>${client.clientId}</code>.</p>
<p>Agree only if you have just started this in a program of <strong>${client.title}</strong> yourself. What you lend goes to
<strong>${redirectUri === undefined ? client.title : new URL(redirectUri).host}</strong>${isOnThisComputer(redirectUri) ? ', a program on this computer, which may be any program on it' : ''}.</p>
<p class="soft">It never sees more than you may read yourself, and no sensitive document unless you approve it.</p>`

const knownLead = ({ agent, client, scopes, isOurs, resource }: ConsentPending): Html =>
  html`<p>The agent <strong>${agent?.title ?? ''}</strong> (<code>${agent?.id ?? ''}</code>), through <strong>${client.title}</strong>, wants to
<strong>${isOurs ? sayScopes(scopes) : `use ${scopes.join(', ')}`}</strong> for you${isOurs ? '' : html` at <code>${resource}</code>`}.</p>
<p class="soft">What it is for: ${agent?.purpose ?? ''} Who answers for it: ${agent?.owner ?? ''}.
${isOurs ? 'It never sees more than you may read yourself, and no sensitive document unless you approve it.' : 'It opens none of your documents here.'}</p>`

const isEmpty = ({ scopes, oidcScopes }: ConsentPending): boolean => scopes.length + oidcScopes.length === 0

const ownLead = (pending: ConsentPending): Html =>
  isEmpty(pending)
    ? html`<p><strong>${pending.client.title}</strong> asks for administrators' rights, which you do not have.</p>`
    : pending.addressee === undefined
      ? ownWish(pending)
      : handing(pending, pending.addressee)

/** What it is handed opens nothing by itself: the agent exchanges it, within what was lent. */
const handing = ({ client, scopes }: ConsentPending, { id, title, purpose, owner }: Agent): Html =>
  html`<p><strong>${client.title}</strong> hands this to the agent <strong>${title}</strong> (<code>${id}</code>), which may then
<strong>${sayScopes(scopes)}</strong> for you, within what you lent it. Without that it reads nothing.</p>
<p class="soft">What it is for: ${purpose} Who answers for it: ${owner}. It never sees more than you may read yourself.
<a href="/delegations">What you have lent</a></p>`

const ownWish = ({ client, scopes, isOurs, resource }: ConsentPending): Html =>
  html`<p><strong>${client.title}</strong> wants to <strong>${isOurs ? sayScopes(scopes) : `use ${scopes.join(', ')}`}</strong> as you${isOurs ? '' : html` at <code>${resource}</code>`}, with everything that you
may do yourself. Only agree if this is a program of yours.</p>`

const details = ({ details: foreignDetails }: ConsentPending): Html | string =>
  foreignDetails.length === 0
    ? ''
    : html`<fieldset><legend>What exactly it may do there</legend>${detailLists(foreignDetails)}</fieldset>`

function objects({ agent, lendable, isNarrowed, isStranger }: ConsentPending): Html {
  if (lendable.length === 0)
    return html`<p class="problem">There is nothing among what it asks for that you could lend.</p>`
  return html`<fieldset><legend>What may it look into?</legend>${lendable.map((entry) => lendableLine(entry, isNarrowed && !isStranger))}${agent === undefined ? '' : limitHints([agent], lendable)}</fieldset>`
}

function subAgents({ subAgents: passedOn }: ConsentPending): Html | string {
  if (passedOn.length === 0) return ''
  return html`<fieldset><legend>It asks to pass this on to other agents</legend>${passedOn.map(({ id }) => checkLine('sub_agent', id, html`${id}`))}</fieldset>`
}

function destination({ redirectUri }: ConsentPending): string {
  if (redirectUri === undefined) return 'the device that shows the code'
  const { host } = new URL(redirectUri)
  return isOnThisComputer(redirectUri) ? `a program on this computer (${host})` : host
}

const isOnThisComputer = (redirectUri: string | undefined): boolean =>
  redirectUri !== undefined && isLoopback(new URL(redirectUri))

/** What may be lent, to be ticked. */
export const lendableLine = ({ object, title }: Lendable, isTicked: boolean): Html =>
  checkLine(
    'object',
    object,
    html`${title}${object.startsWith('organization:') ? html` <small>everything in it that you may read</small>` : ''}`,
    isTicked,
  )
