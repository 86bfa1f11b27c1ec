import { createServer, type IncomingMessage } from 'node:http'
import { createResourceGuard, memoryStore } from '@remit/client/guard'

const {
  PORT = '8787',
  PUBLIC_URL = `http://localhost:${PORT}`,
  ISSUER = `${PUBLIC_URL}/oauth`,
  RESOURCE = 'http://127.0.0.1:4000/api',
} = process.env
const guard = createResourceGuard({
  issuer: ISSUER,
  resource: RESOURCE,
  requiredScopes: ['orders.place'],
  detailsTypes: ['trade_order'],
  uses: memoryStore(), // of one process: several need one that they share
})

const answer = async ({ method = '', url: path = '', headers }: IncomingMessage) => {
  const url = new URL(path, RESOURCE)
  const described = guard.serveMetadata({ method, url: url.href })
  if (described !== undefined) return described
  const access = await guard.verify({ method, url: url.href, headers })
  if (!access.ok) return Response.json(access.refusal, access.refusal)
  const symbol = url.searchParams.get('symbol')
  const quantity = Number(url.searchParams.get('quantity'))
  const price = Number(url.searchParams.get('price')) // dollars for each, at most
  const agreed = guard.permits(
    access.value,
    (one) =>
      one['symbol'] === symbol &&
      quantity >= 1 &&
      quantity <= Number(one['quantity']) &&
      price > 0 &&
      price <= Number(one['limit']),
  )
  if (!agreed.ok) return Response.json(agreed.refusal, agreed.refusal)
  const used = await guard.use(access.value, agreed.value)
  if (!used.ok) return Response.json(used.refusal, used.refusal)
  const { subject, actors } = access.value
  return Response.json(
    { bought: quantity, of: symbol, price, for: subject, by: actors[0].subject },
    { status: 201 },
  )
}

createServer((request, response) => {
  answer(request).then(
    async (made) => response.writeHead(made.status, Object.fromEntries(made.headers)).end(await made.text()),
    () => response.writeHead(500).end(),
  )
}).listen(Number(new URL(RESOURCE).port), '127.0.0.1', () => console.log(`Orders at ${RESOURCE}`))
