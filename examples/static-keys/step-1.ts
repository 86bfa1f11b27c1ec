/** Step 1, as it is today: whoever has the one key in INVOICES_KEY is in, as everybody. */
import { type Admit, serveInvoices } from './invoices.ts'

const { RESOURCE = 'http://127.0.0.1:4100/api', INVOICES_KEY = '' } = process.env

const admit: Admit = async (request) =>
  INVOICES_KEY !== '' && request.headers.get('x-api-key') === INVOICES_KEY
    ? { person: 'everybody' }
    : Response.json({ error: 'unauthorized' }, { status: 401 })

serveInvoices(RESOURCE, admit)
