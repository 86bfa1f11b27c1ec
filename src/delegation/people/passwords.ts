import { type Argon2Parameters, argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { invalid } from '../../kernel/errors.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { SignInEnds } from './sign-in-ends.ts'

/** Passwords of local people, stored as argon2id hashes. */
export interface Passwords {
  /**
   * Sets an account's password: 12 to 200 characters. Whoever is signed in as them is signed out, and
   * programs that act as them lose that. Throws where there is no such account.
   */
  set(person: string, password: string): Promise<void>
  /**
   * When the password that fits was set; undefined: it does not fit. Takes as long for an account that does
   * not exist. NOT limited in rate: whoever calls it is.
   */
  verify(person: string, password: string): Promise<Date | undefined>
  has(person: string): Promise<boolean>
  /** Undefined for an account without one. */
  changedAt(person: string): Promise<Date | undefined>
}

const derive = promisify(argon2)

// OWASP's second choice for argon2id: 19 MiB, 2 passes, 1 lane; kept with each hash, so that it may be
// raised.
const cost = { memory: 19_456, passes: 2, parallelism: 1 }
const tagLength = 32
const lengthMin = 12
const lengthMax = 200

export interface PasswordsDeps extends Pick<Runtime, 'database' | 'clock'> {
  readonly signInEnds: Pick<SignInEnds, 'everywhere'>
}

/** Does NOT limit the rate of tries. */
export function createPasswords({ database, clock, signInEnds }: PasswordsDeps): Passwords {
  async function passwordOf(person: string) {
    const text = 'select hash, changed_at as "changedAt" from passwords where person = $1'
    return (await database.query<{ hash: string; changedAt: Date }>(text, [person]))[0]
  }
  // For accounts that do not exist: as dear as a real one, and nothing fits it.
  const decoy = hash(randomBytes(32).toString('base64url'))

  return {
    async set(person, password) {
      if (password.length < lengthMin || password.length > lengthMax)
        throw invalid('password', `A password has ${lengthMin} to ${lengthMax} characters.`)
      const personRows = await database.query(
        'select 1 from people where key = $1 and upstream_issuer is null',
        [person],
      )
      if (personRows.length === 0) throw invalid('user', `There is no local account ${person}.`)
      const hashed = await hash(password)
      await database.transaction(async (sql) => {
        await sql.query(
          `insert into passwords (person, hash, changed_at) values ($1, $2, $3)
           on conflict (person) do update set hash = excluded.hash, changed_at = excluded.changed_at`,
          [person, hashed, new Date(clock.now())],
        )
        await signInEnds.everywhere(sql, person, { grants: 'own' })
      })
    },
    async verify(person, password) {
      const stored = await passwordOf(person)
      const fits = await matches(stored?.hash ?? (await decoy), password)
      return fits ? stored?.changedAt : undefined
    },
    has: async (person) => (await passwordOf(person)) !== undefined,
    changedAt: async (person) => (await passwordOf(person))?.changedAt,
  }
}

async function hash(password: string): Promise<string> {
  const nonce = randomBytes(16)
  const tag = await derive('argon2id', { ...cost, tagLength, nonce, message: normal(password) })
  const { memory, passes, parallelism } = cost
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${unpaddedBase64(nonce)}$${unpaddedBase64(tag)}`
}

const form =
  /^\$argon2id\$v=19\$m=(?<memory>\d+),t=(?<passes>\d+),p=(?<parallelism>\d+)\$(?<nonce>[^$]+)\$(?<tag>[^$]+)$/

async function matches(storedHash: string, password: string): Promise<boolean> {
  const { memory, passes, parallelism, nonce, tag } = form.exec(storedHash)?.groups ?? {}
  if (nonce === undefined || tag === undefined) throw new Error('A kept password has no known form.')
  const expected = Buffer.from(tag, 'base64')
  const parameters: Argon2Parameters = {
    memory: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
    tagLength: expected.length,
    nonce: Buffer.from(nonce, 'base64'),
    message: normal(password.slice(0, lengthMax)),
  }
  return timingSafeEqual(await derive('argon2id', parameters), expected)
}

/** One spelling for what looks the same on two keyboards. */
const normal = (password: string): string => password.normalize('NFKC')
const unpaddedBase64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes).toString('base64').replaceAll('=', '')
