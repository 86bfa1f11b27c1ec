import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { startOpensearchNodes } from '../support/opensearch-nodes.ts'

// `npm run test:engine-killed`: engine-kills.test.ts with an OpenSearch of its own, which is really killed;
// `-- -t "the engine"` kills that alone.
await using nodes = await startOpensearchNodes(1)
const restart = async (): Promise<void> => {
  await nodes.kill(0)
  nodes.start(0)
  await nodes.whole()
}
const server = createServer((_, response) => {
  restart().then(
    () => response.end(),
    () => response.destroy(),
  )
}).listen(0, '127.0.0.1')
await once(server, 'listening')
const vitest = spawn('vitest', ['run', 'test/ingest/engine-kills.test.ts', ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: {
    ...process.env,
    OPENSEARCH_TEST_URL: nodes.urls[0],
    ENGINE_RESTART: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  },
})
const [code] = await once(vitest, 'exit')
server.close()
process.exitCode = Number(code ?? 1)
