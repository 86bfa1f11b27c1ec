import { html } from 'hono/html'
import type { ShownGrant } from '../../delegation/approvals/own.ts'
import { splitObject } from '../../kernel/ids.ts'
import { type Html, hiddenField } from './layout.ts'
import { moment, timeLeft } from './times.ts'

/** What was agreed to and counts now, and how to take it back. */
export const grantRow = (
  grant: ShownGrant,
  { csrf, now }: { readonly csrf: string; readonly now: number },
): Html => html`<li><p><strong>${grant.agentTitle}</strong> ${grant.remembered ? html`<span class="tag">need not ask</span>` : ''}</p>
<div>${contentOf(grant)}</div>
<p class="soft"><small>${grant.maxUses === undefined ? 'As often as it needs' : 'Once'}, until ${moment(grant.until)} (${timeLeft(grant.until.getTime() - now)})</small></p>
<form class="aside" method="post" action="/approvals/grants/${grant.id}/revoke">${hiddenField('csrf', csrf)}<button class="bad" type="submit">Take back<span class="unseen"> from ${grant.agentTitle}</span></button></form></li>`

function contentOf({ items: grantItems, vaultCall, remembered }: ShownGrant): Html {
  if (vaultCall !== undefined)
    return html`May make this call: <code>${vaultCall.method}</code> <code>${vaultCall.path}</code>`
  const named = html`<ul>${grantItems.map(({ object, title }) => html`<li>${nameOf(object, title)}</li>`)}</ul>`
  return remembered
    ? html`May read whatever you may read and have lent it in:${named}Documents that are added there later are included.`
    : html`May read:${named}`
}

const nameOf = (object: ShownGrant['objects'][number], title: string | undefined): Html =>
  title === undefined
    ? html`<small>one that you may not read now</small>`
    : object.startsWith('folder:')
      ? html`the folder <code>${splitObject(object).id}</code>`
      : html`<bdi>${title}</bdi>`
