/**
 * A DOUBLE, not a company: a third party that sells quotes, in one small process. It stands for whatever
 * service a person has an account at. An OpenID provider (sign in with any name), an API that only its own
 * tokens open, and at `/` a page on which you are the market: it moves a price.
 */
import { createHash, randomBytes } from 'node:crypto'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { html } from 'hono/html'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

const { MARKET_PORT = '8813', MARKET_CLIENT_SECRET: secret = '' } = process.env
if (secret === '') throw new Error('MARKET_CLIENT_SECRET is not set: anybody could redeem codes.')
const origin = `http://127.0.0.1:${MARKET_PORT}`
const clientId = 'remit'

const prices = new Map([
  ['ACME', 122.5],
  ['BRIX', 54.2],
])
const codes = new Map<string, { account: string; nonce: string; challenge: string; redirectUri: string }>()
const accounts = new Map<string, string>()
const { privateKey, publicKey } = await generateKeyPair('ES256')
const jwk = { ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }
const random = () => randomBytes(24).toString('base64url')

/** RFC 6749 §2.3.1: both halves are encoded as in a form, each client in its own way. */
function isRemit(header = ''): boolean {
  const [id, given] = Buffer.from(header.replace(/^Basic /i, ''), 'base64')
    .toString()
    .split(':')
    .map((part) => new URLSearchParams(`x=${part}`).get('x'))
  return id === clientId && given === secret
}

const page = (title: string, body: unknown) =>
  html`<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title>
<style>body{font:16px/1.5 system-ui;max-width:34rem;margin:3rem auto;padding:0 1rem}mark{padding:.1em .4em}</style>
<p><mark>A double: no such company exists.</mark></p><h1>${title}</h1>${body}</html>`

const app = new Hono()
app.get('/.well-known/openid-configuration', (c) =>
  c.json({
    issuer: origin,
    authorization_endpoint: `${origin}/authorize`,
    token_endpoint: `${origin}/token`,
    jwks_uri: `${origin}/jwks`,
    response_types_supported: ['code'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['ES256'],
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: ['client_secret_basic'],
    authorization_response_iss_parameter_supported: true,
  }),
)
app.get('/jwks', (c) => c.json({ keys: [jwk] }))

app.get('/authorize', (c) =>
  c.html(
    page(
      'Tickerwire: sign in',
      html`<p>Remit wants to read quotes with your subscription.</p>
<form method="post" action="/authorize">${Object.entries(c.req.query()).map(
        ([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`,
      )}<label>Account <input name="account" required autofocus></label> <button>Sign in and allow</button></form>`,
    ),
  ),
)
app.post('/authorize', async (c) => {
  const form = Object.fromEntries(new URLSearchParams(await c.req.text()))
  const { account = '', nonce = '', code_challenge: challenge = '', redirect_uri = '', state = '' } = form
  const code = random()
  codes.set(code, { account, nonce, challenge, redirectUri: redirect_uri })
  const back = new URL(redirect_uri)
  for (const [name, value] of Object.entries({ code, state, iss: origin })) back.searchParams.set(name, value)
  return c.redirect(back.href, 303)
})

app.post('/token', async (c) => {
  c.header('cache-control', 'no-store')
  if (!isRemit(c.req.header('authorization'))) return c.json({ error: 'invalid_client' }, 401)
  const {
    grant_type,
    code = '',
    code_verifier = '',
    redirect_uri,
    refresh_token = '',
  } = Object.fromEntries(new URLSearchParams(await c.req.text()))
  const known = codes.get(code)
  const isCode = grant_type === 'authorization_code' && known !== undefined
  const proves = createHash('sha256').update(code_verifier).digest('base64url') === known?.challenge
  if (isCode && !(proves && redirect_uri === known.redirectUri))
    return c.json({ error: 'invalid_grant' }, 400)
  const account = isCode ? known.account : accounts.get(`refresh ${refresh_token}`)
  if (account === undefined) return c.json({ error: 'invalid_grant' }, 400)
  codes.delete(code)
  accounts.delete(`refresh ${refresh_token}`)
  const [access, refresh] = [random(), random()]
  accounts.set(`access ${access}`, account).set(`refresh ${refresh}`, account)
  const idToken = new SignJWT({ sub: account, email: `${account}@tickerwire.example`, nonce: known?.nonce })
    .setProtectedHeader({ alg: 'ES256', kid: 'one' })
    .setIssuer(origin)
    .setAudience(clientId)
    .setIssuedAt()
    .setExpirationTime('5 minutes')
    .sign(privateKey)
  return c.json({
    access_token: access,
    refresh_token: refresh,
    token_type: 'Bearer',
    expires_in: 600,
    ...(isCode && { id_token: await idToken }),
  })
})

app.get('/quotes/:symbol', (c) => {
  const [, token = ''] = /^Bearer (.+)$/i.exec(c.req.header('authorization') ?? '') ?? []
  const account = accounts.get(`access ${token}`)
  if (account === undefined) return c.json({ error: 'no subscription' }, 401)
  const symbol = c.req.param('symbol')
  const price = prices.get(symbol)
  return price === undefined
    ? c.json({ error: 'unknown symbol' }, 404)
    : c.json({ symbol, price: price.toFixed(2), currency: 'USD', subscriber: account })
})

app.get('/', (c) =>
  c.html(
    page(
      'Tickerwire: you are the market',
      [...prices].map(
        ([symbol, price]) =>
          html`<form method="post" action="/price"><input type="hidden" name="symbol" value="${symbol}"><label>${symbol}
<input name="price" type="number" step="0.01" min="0.01" value="${price.toFixed(2)}"></label> <button>Move</button></form>`,
      ),
    ),
  ),
)
app.post('/price', async (c) => {
  const form = new URLSearchParams(await c.req.text())
  const [symbol, price] = [form.get('symbol') ?? '', Number(form.get('price'))]
  if (!prices.has(symbol) || !(price > 0)) return c.text('There is no such share, or no such price.', 422)
  prices.set(symbol, price)
  return c.redirect('/', 303)
})

serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(MARKET_PORT) })
