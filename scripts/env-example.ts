import { z } from 'zod'
import { settings } from '../src/config/config.ts'

/** Text of `.env.example`: every setting with its doc line and its default, all commented out. */
export function envExample(): string {
  const entries = Object.entries(settings.shape).map(([name, schema]) => {
    const value = schema instanceof z.ZodDefault ? String(schema.def.defaultValue) : ''
    return `# ${schema.description ?? ''}\n#${name}=${value}\n`
  })
  return `${header}\n${entries.join('\n')}`
}

const header = `# Every setting of the service. Generated from src/config by:
#   npx node scripts/env-example.ts > .env.example
# A setting that is left out or empty has its default. A copy named .env is read by npm start and npm run remit; the
# environment wins: PORT=8797 OPS_PORT=8798 npm start. A secret may stand in a file instead, which NAME_FILE names: DATABASE_URL_FILE,
# OPENFGA_API_TOKEN_FILE, VAULT_KEYS_FILE, EMBEDDINGS_API_KEY_FILE, and so for every variable that client_secret_env names.
`

if (import.meta.main) process.stdout.write(envExample())
