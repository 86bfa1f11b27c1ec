import { openKeyRing } from '../src/delegation/tokens/signing-key.ts'
import { loadSecret } from '../src/store/secret.ts'

/**
 * Makes the key files that several processes share, and leaves those that are there: `node scripts/keys.ts
 * FOLDER`. With `rotate` behind it tokens are signed by new keys; the old ones stay published for a day.
 */
const [folder, command] = process.argv.slice(2)
if (folder === undefined || ![undefined, 'rotate'].includes(command)) {
  process.stderr.write('usage: node scripts/keys.ts FOLDER [rotate]\n')
  process.exit(2)
}
process.umask(0o077)
for (const name of ['digest', 'dpop', 'mcp', 'oauth', 'record-seal', 'vault'])
  await loadSecret(folder, `${name}.key`)
const ring = await openKeyRing(folder, { now: Date.now })
await ring.idTokens()
if (command === 'rotate') await ring.rotate()
await ring.sweep()
