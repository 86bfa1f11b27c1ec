import { hasPlainCharacters, visible } from '@remit/contract/text'
import { html } from 'hono/html'
import { isOpen } from '../../delegation/approvals/approval.ts'
import type { OwnApproval } from '../../delegation/approvals/own.ts'
import { type RequestedAccess, tokenSeconds } from '../../delegation/approvals/requested-access.ts'
import type { ShownApproval, ShownDocument } from '../../delegation/approvals/view.ts'
import type { VaultCall } from '../../delegation/vault/call.ts'
import type { ShownCall } from '../../delegation/vault/own-connections.ts'
import { splitObject } from '../../kernel/ids.ts'
import { detailLists } from './details.ts'
import type { Html } from './layout.ts'
import { sayScopes } from './scopes.ts'
import { moment } from './times.ts'

/** In one line: who wants what. Names are of our registry. */
export function headline({ shown: request, call }: OwnApproval): string {
  const { agentTitle, asked: requested, documents } = request
  const wants = isOpen(request) ? 'wants' : 'wanted'
  switch (requested.kind) {
    case 'documents': {
      const count = isOpen(request) && documents.length > 0 ? `${documents.length} ` : ''
      return `${agentTitle} ${wants} to read ${count === '1 ' ? 'a document' : `${count}documents`} for you`
    }
    case 'vault_call':
      return `${agentTitle} ${wants} ${wish(requested, call?.providerTitle)}`
    case 'access':
      return `${agentTitle} ${wants} ${wish(requested)}`
  }
}

/** What somebody wants, without what only the page of the question looks at anew. */
export function wish(requested: RequestedAccess, providerTitle?: string): string {
  switch (requested.kind) {
    case 'documents':
      return 'to read documents for you'
    case 'vault_call':
      return `to ${verbs[requested.call.method] ?? 'do something'} at ${providerTitle ?? requested.provider} for you`
    case 'access':
      return `to act for you at ${hostOf(requested.resource)}`
  }
}

const verbs: Readonly<Record<string, string>> = {
  GET: 'read something',
  HEAD: 'look at something',
  POST: 'send or create something',
  PUT: 'replace something',
  PATCH: 'change something',
  DELETE: 'delete something',
}

export interface AskedOptions {
  /** Of the documents, those that are ticked; undefined: all. */
  readonly ticked: readonly string[] | undefined
  readonly publicUrl: string
}

/** What exactly is asked for, or was agreed to. */
export function askedSection({ shown: request, call }: OwnApproval, options: AskedOptions): Html {
  const { asked: requested } = request
  switch (requested.kind) {
    case 'documents':
      return html`${documentsSection(request, options)}${tokenLine(requested)}`
    case 'vault_call':
      return html`${callSection(requested, { shown: call, canAnswer: isOpen(request) })}${tokenLine(requested)}`
    case 'access':
      return accessSection(requested, request, options)
  }
}

/** What comes with a yes to one thing, where it is fetched as a token: by each request that stands for it. */
const tokenLine = ({ scopes }: RequestedAccess): Html | string =>
  scopes.length === 0
    ? ''
    : html`<p>It fetches this with tokens. They end ${minutes} minutes after the first, at the latest. Until then it may also <strong>${sayScopes(scopes)}</strong> for you, within what you lent it and agreed to before.</p>`

const minutes = tokenSeconds / 60

function documentsSection(request: ShownApproval, { ticked }: AskedOptions): Html {
  const canChoose = isOpen(request)
  const { documents, answer, state } = request
  const agreed = answer?.kind === 'documents' && state === 'approved' ? answer.documentIds : undefined
  const listed = agreed === undefined ? documents : documents.filter(({ id }) => agreed.includes(id))
  if (listed.length === 0)
    return html`<p class="empty">${canChoose ? 'Of what it asked for there is nothing now that you may read and have lent it. There is nothing to agree to.' : 'There is nothing of it now that you may read and have lent to this agent.'}</p>`
  if (!canChoose)
    return html`<section aria-label="Documents"><ul class="docs">${listed.map((document) => html`<li>${documentLine(document, placeOf(document, request))}</li>`)}</ul></section>`
  return html`<fieldset><legend>${listed.length === 1 ? 'This document' : 'These documents'}</legend>
<p class="soft">${listed.length === 1 ? 'It is one' : 'They are ones'} that you may read yourself.${listed.length === 1 ? '' : ' Untick what it should not get.'}</p>
<div class="docs">${listed.map(
    (document) =>
      html`<label class="line"><input type="checkbox" name="document" value="${document.id}" form="yes"${ticked === undefined || ticked.includes(document.id) ? html` checked` : ''}> <span>${documentLine(document, placeOf(document, request))}</span></label>`,
  )}</div></fieldset>`
}

/** Where it is filed, by the title that whoever may read it may know. */
const placeOf = ({ collection }: ShownDocument, { places: collections }: ShownApproval): string =>
  collections.find(({ object }) => object === `collection:${collection}`)?.title ?? collection

const documentLine = ({ title, owner, isSensitive }: ShownDocument, collectionTitle: string): Html =>
  html`<bdi><strong>${title}</strong></bdi><br><small>${isSensitive ? html`<span class="tag warn">sensitive</span> ` : ''}${owner === undefined ? '' : html`owner ${splitObject(owner as `user:${string}`).id} · `}${collectionTitle}</small>`

function callSection(
  { call, body }: Extract<RequestedAccess, { kind: 'vault_call' }>,
  { shown: shownCall, canAnswer }: { readonly shown: ShownCall | undefined; readonly canAnswer: boolean },
): Html {
  const [path = '', query] = call.path.split(/\?(.*)/s)
  const isWrite = call.method !== 'GET' && call.method !== 'HEAD'
  return html`<section class="card" aria-label="The call"><h2>This one call, once</h2>
<dl><dt>At</dt><dd><strong>${shownCall?.providerTitle ?? ''}</strong><br><code>${shownCall?.host ?? 'not set up here any more'}</code></dd>
<dt>With your account</dt><dd>${shownCall?.account === undefined ? 'not connected any more' : html`<bdi>${shownCall.account}</bdi>`}</dd>
<dt>Does</dt><dd><code>${call.method}</code> ${isWrite ? html`<span class="tag warn">changes things there</span>` : html`<span class="tag">reads only</span>`}</dd>
<dt>To</dt><dd><code>${path}</code></dd>
${query === undefined ? '' : html`<dt>Asking for</dt><dd>${pairs(query)}</dd>`}
${call.bodyDigest === undefined ? '' : html`<dt>Sends</dt><dd>${sent(call, body, canAnswer)}</dd>`}</dl>
<p class="soft">Remit makes the call. The agent never gets the key to your account.</p></section>`
}

/** What would be sent in the person's name, to the letter; what cannot be seen is said by its number. */
function sent(
  { contentType = '', bodyDigest = '' }: VaultCall,
  body: string | undefined,
  canAnswer: boolean,
): Html {
  if (body !== undefined)
    return html`this, of the type <code>${contentType}</code>, ${Buffer.byteLength(body)} bytes:<pre tabindex="0">${visible(body)}</pre>`
  if (!canAnswer)
    return html`what stood here, of the type <code>${contentType}</code>. It is not kept; its fingerprint is:<br><code>${bodyDigest}</code>`
  return html`something of the type <code>${contentType}</code> <span class="tag warn">not shown</span> Only the agent has it; it can send nothing else than what has this fingerprint:<br><code>${bodyDigest}</code><br><small>If you do not know what it is, refuse, or ask.</small>`
}

/** Query parameters as they are meant, where they can be shown as what they are. */
function pairs(query: string): Html {
  const parameters = [...new URLSearchParams(query)]
  return parameters.flat().every(hasPlainCharacters)
    ? html`<ul class="plain">${parameters.map(([name, value]) => html`<li><code>${name}</code> <bdi>${value}</bdi></li>`)}</ul>`
    : html`<code>${query}</code>`
}

function accessSection(
  { resource, scopes, details, collections }: Extract<RequestedAccess, { kind: 'access' }>,
  { expiresAt }: Pick<ShownApproval, 'expiresAt'>,
  { publicUrl }: AskedOptions,
): Html {
  const isOurs = resource === publicUrl || resource === `${publicUrl}/mcp`
  return html`<section class="card" aria-label="What it may do"><h2>What exactly it may do there</h2>
${isOurs ? html`<p>It may <strong>${sayScopes(scopes)}</strong> for you, within what you lent it.</p>` : html`<p>It may use <strong>${scopes.length === 0 ? 'this alone' : scopes.join(', ')}</strong> at <code>${resource}</code>.</p>`}
${collections === undefined ? '' : html`<p>Only in what it calls ${collections.map((collection) => html`<code>${collection}</code> `)}<span class="tag">not checked by us</span></p>`}
${detailLists(details)}
<p>It gets tokens for this. They end ${minutes} minutes after the first, at the latest.${isOurs ? '' : html` What you agree to counts until ${moment(new Date(expiresAt.getTime() + tokenSeconds * 1_000))} at most, and stands among <a href="/delegations">what you have lent</a>.`}</p></section>`
}

function hostOf(resource: string): string {
  try {
    return new URL(resource).host || resource
  } catch {
    // Any URI may name an API.
    return resource
  }
}
