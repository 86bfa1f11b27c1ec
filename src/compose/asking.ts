import { randomBytes, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { FollowingIndex } from '../authz/index/create.ts'
import type { Config } from '../config/config.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { type Nominators, openNominators } from '../retrieval/nominators/ask.ts'
import { type CertifiedRole, hasRole } from '../retrieval/nominators/role.ts'
import type { Credentials } from '../retrieval/nominators/serve.ts'
import type { ComposeContext } from './context.ts'

/** Of a process that has no replica, what it asks others by. */
export interface AskingDeps extends Pick<ComposeContext, 'config' | 'log' | 'now'> {
  readonly index: Pick<FollowingIndex, 'ownMarks'>
  readonly modelId: () => string
  readonly wroteAt: () => number
}

/** Opens the way to the nominators; undefined where this process holds the tuples itself. */
export async function openAsking(dependencies: AskingDeps): Promise<Nominators | undefined> {
  const { config, log, now, index, modelId, wroteAt } = dependencies
  if (config.nominatorShares === undefined) return undefined
  return openNominators({
    shares: config.nominatorShares,
    credentials: await readCredentials(config, 'api'),
    modelId,
    ownMarks: index.ownMarks,
    wroteAt,
    now,
    // One that hangs leaves time for two others.
    timeoutMs: Math.ceil(config.requestDeadlineMs / 3),
    newNonce: () => randomBytes(16).toString('base64url'),
    log,
  })
}

/** The PEM files that settings name. No start with a certificate that the other side would refuse. */
export async function readCredentials(
  { nominatorTls }: Pick<Config, 'nominatorTls'>,
  role: CertifiedRole,
): Promise<Credentials> {
  const read = async (setting: string, path: string | undefined): Promise<string> => {
    try {
      return await readFile(path ?? '', 'utf8')
    } catch (error) {
      throw new OperatorError(`The file of ${setting} cannot be read: ${path}`, error)
    }
  }
  const cert = await read('NOMINATOR_TLS_CERT', nominatorTls.cert)
  const key = await read('NOMINATOR_TLS_KEY', nominatorTls.key)
  const ca = await read('NOMINATOR_TLS_CA', nominatorTls.ca)
  if (!hasRole(certificateOf(cert), role))
    throw new OperatorError(
      `The certificate of NOMINATOR_TLS_CERT needs the alternative name urn:remit:role:${role}, and no other role: ${nominatorTls.cert}`,
    )
  return { cert, key, ca }
}

function certificateOf(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem)
  } catch {
    return undefined
  }
}
