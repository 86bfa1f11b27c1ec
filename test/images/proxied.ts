import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cert, key } from './certificate.ts'
import type { Place } from './diary.ts'
import { openStand } from './stand.ts'

/** docker-compose.yml behind the proxy of docker-compose.tls.yml, which has a certificate of its own. */
export async function openProxied(project: string, ...more: readonly string[]): Promise<Place> {
  const stand = await openStand({
    project,
    files: ['docker-compose.yml', 'docker-compose.tls.yml', ...more],
    settings: ({ remit, http, https }) => ({
      REMIT_PORT: `127.0.0.1:${remit}`,
      PUBLIC_URL: `https://localhost:${https}`,
      HTTPS_PORT: https,
      HTTP_PORT: http,
      PROXY_TLS: 'tls /etc/caddy/cert.pem /etc/caddy/key.pem',
    }),
  })
  const ca = join(stand.folder, 'docker/proxy/cert.pem')
  writeFileSync(ca, cert)
  writeFileSync(join(stand.folder, 'docker/proxy/key.pem'), key)
  return { stand, url: `https://localhost:${stand.ports.https}`, ca }
}
