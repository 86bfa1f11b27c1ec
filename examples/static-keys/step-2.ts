/**
 * Step 2, while programs move: tokens for one person and one agent, with what they may do. The key still
 * opens what it has to, and no more: lists, no payments. Each use of it is said, until there are none.
 */
import { createResourceGuard, memoryStore } from '@remit/client/guard'
import { type Admit, serveInvoices } from './invoices.ts'

const {
  PORT = '8787',
  PUBLIC_URL = `http://localhost:${PORT}`,
  ISSUER = `${PUBLIC_URL}/oauth`,
  RESOURCE = 'http://127.0.0.1:4100/api',
  INVOICES_KEY = '',
} = process.env
const guard = createResourceGuard({
  issuer: ISSUER,
  resource: RESOURCE,
  detailsTypes: ['invoices'],
  uses: memoryStore(), // of one process: several need one that they share
})

const admit: Admit = async (request, { action, invoice }) => {
  const { method, url } = request
  const described = guard.serveMetadata({ method, url })
  if (described !== undefined) return described
  const key = request.headers.get('x-api-key')
  if (INVOICES_KEY !== '' && key === INVOICES_KEY && action === 'list') {
    console.log(`The key was used by ${request.headers.get('user-agent') ?? 'nobody known'}.`)
    return { person: 'everybody' }
  }
  const access = await guard.verify({ method, url, headers: Object.fromEntries(request.headers) })
  if (!access.ok) return Response.json(access.refusal, access.refusal)
  const agreed = guard.permits(
    access.value,
    (one) => one['action'] === action && (action === 'list' || one['invoice'] === invoice),
  )
  if (!agreed.ok) return Response.json(agreed.refusal, agreed.refusal)
  const used = action === 'pay' ? await guard.use(access.value, agreed.value) : agreed
  if (!used.ok) return Response.json(used.refusal, used.refusal)
  return { person: access.value.subject }
}

serveInvoices(RESOURCE, admit)
