import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Finding, ok, problem, warning } from './finding.ts'

/** Files that each process of one deployment has to share, and what is lost with each. */
const needed: Readonly<Record<string, string>> = {
  'digest.key': 'the record could not say that two questions were the same',
  'dpop.key': 'proofs of programs would not be believed',
  'mcp.key': 'what MCP clients wait for could not go on',
  'oauth.key': 'nothing that is encrypted in the database could be opened',
  'record-seal.key': 'the record could not be sealed on',
  'issuer-es256.json': 'no token could be signed',
}
const vaultKey = 'vault.key'
const signing = 'issuer-es256.json'
const ageDaysMax = 400

/**
 * What the files of keys say: which are missing, who could read them, how old the signing key is.
 * `needsVaultKey`: undefined where nobody knows.
 */
export async function ofKeys(
  folder: string,
  { now, needsVaultKey }: { readonly now: number; readonly needsVaultKey: boolean | undefined },
): Promise<readonly Finding[]> {
  const found: Finding[] = []
  const names = [...Object.keys(needed), ...(needsVaultKey === true ? [vaultKey] : [])]
  const looked = await Promise.all(
    ['', ...names].map(async (name) => ({
      name,
      is: await stat(join(folder, name)).catch(() => undefined),
    })),
  )
  const missing = looked.filter(({ is }) => is === undefined || is.size === 0).map(({ name }) => name)
  if (missing.includes(''))
    return [
      problem(
        'keys',
        `There is no folder ${folder}.`,
        'Name REMIT_HOME as the service has it, or bring the folder back from where its keys are kept.',
      ),
    ]
  for (const name of missing)
    found.push(
      problem(
        'keys',
        `${name} is missing or empty: ${needed[name] ?? 'no linked account could be used'}.`,
        'Bring it back from where the keys are kept. A new one does not open what the old one closed.',
      ),
    )
  if (needsVaultKey === undefined)
    found.push(
      warning(
        'keys',
        `Whether ${vaultKey} is needed was not looked at: the database did not say.`,
        'Bring it back, and look again.',
      ),
    )
  const open = looked.filter(({ is }) => is !== undefined && (is.mode & 0o077) !== 0)
  for (const { name } of open)
    found.push(
      problem(
        'keys',
        `Others on this machine can read ${join(folder, name)}.`,
        `Run chmod ${name === '' ? '700' : '600'} on it; if somebody may have read it, make new keys.`,
      ),
    )
  const signed = looked.find(({ name }) => name === signing)?.is
  const days = signed && Math.floor((now - signed.mtimeMs) / 86_400_000)
  if (days !== undefined && days > ageDaysMax)
    found.push(
      warning('keys', `Tokens are signed by a key that is ${days} days old.`, 'Run `remit keys rotate`.'),
    )
  return found.length > 0 ? found : [ok('keys', 'Every key is there and closed to others.')]
}
