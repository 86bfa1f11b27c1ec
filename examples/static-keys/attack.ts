/** What somebody can do who has got hold of KEY, of TOKEN, or of both. */
const { RESOURCE = 'http://127.0.0.1:4100/api', KEY = '', TOKEN = '' } = process.env

async function tries(what: string, headers: Record<string, string>, method: string, path: string) {
  const response = await fetch(`${RESOURCE}${path}`, { method, headers })
  const body: unknown = await response.json()
  const got = Array.isArray(body) ? body.map(({ id }: { id: string }) => id).join(' ') : response.status
  console.log(`${what.padEnd(34)} ${response.ok ? `yes: ${got}` : `no (${response.status})`}`)
}

const withKey = { 'x-api-key': KEY }
const withToken = { authorization: `Bearer ${TOKEN}` }
if (KEY === '' && TOKEN === '') console.error('Set what leaked: KEY, TOKEN, or both.')
if (KEY !== '') {
  await tries('key: list', withKey, 'GET', '/invoices')
  await tries("key: pay Bob's i-3", withKey, 'POST', '/invoices/i-3/pay')
}
if (TOKEN !== '') {
  await tries('token: list', withToken, 'GET', '/invoices')
  await tries("token: pay Anne's i-1, as agreed", withToken, 'POST', '/invoices/i-1/pay')
  await tries('token: pay i-1 again', withToken, 'POST', '/invoices/i-1/pay')
  await tries("token: pay Anne's i-2", withToken, 'POST', '/invoices/i-2/pay')
  await tries("token: pay Bob's i-3", withToken, 'POST', '/invoices/i-3/pay')
}
