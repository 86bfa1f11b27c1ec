import {
  type AuthenticatorTransport,
  generateAuthenticationOptions,
  generateRegistrationOptions,
  type PublicKeyCredentialCreationOptionsJSON,
  type PublicKeyCredentialRequestOptionsJSON,
  verifyAuthenticationResponse,
  verifyRegistrationResponse,
} from '@simplewebauthn/server'
import { record } from '../../audit/record.ts'
import { reasonOf } from '../../kernel/reason.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Runtime } from '../../store/runtime.ts'
import { countRows, readRows, type Sql } from '../../store/sql.ts'
import { isFirstMeans, settlesMs } from './account-news.ts'
import type { Along } from './links.ts'
import {
  assertion,
  attestation,
  type ChallengeUse,
  challengeIn,
  createChallenges,
} from './passkey-challenges.ts'
import { isLocal, type Person } from './people.ts'
import { atPages } from './sign-ins.ts'

/** A passkey as its owner sees it. */
export interface Passkey {
  /** Credential id, base64url. */
  readonly id: string
  readonly title: string
  /** Whether its owner's devices share it. */
  readonly backedUp: boolean
  readonly createdAt: Date
  readonly lastUsedAt: Date | undefined
  /** From when on it shows that its owner is there, for what is sensitive. */
  readonly verifiesFrom: Date
}

/** Who answered, by which account key. */
export interface PasskeyAnswer {
  readonly person: string
  /** Of the passkey. */
  readonly id: string
  /**
   * False for one that was added lately without another one of theirs: it signs in, and shows no more than a
   * password.
   */
  readonly verifies: boolean
}

/** Why no passkey was taken. Outside it is one sentence; which one is for the operator. */
export type PasskeyRefusal =
  | 'malformed'
  | 'unknown_challenge'
  | 'unknown_passkey'
  | 'not_verified'
  | 'counter_went_back'
  | 'not_local'
  | 'taken'
  | 'too_many'
  | 'needs_verification'

/** Passkeys of people: registered, listed, removed, and verified (WebAuthn). */
export interface Passkeys {
  /**
   * What the browser needs to make a passkey for this person. `binding` names the session that asks: only the
   * same one can answer, once, within 5 minutes. Does NOT check how recent its sign-in is: the route does.
   * `verified`: they were lately, by another one of theirs or at their provider: whoever has one that counts
   * adds no other without (`needs_verification`). What is added so counts for what is sensitive at once; else
   * after a day, unless `countsAtOnce`.
   */
  offer(person: Person, binding: string): Promise<PublicKeyCredentialCreationOptionsJSON>
  add(
    person: Person,
    binding: string,
    registration: {
      readonly answer: unknown
      readonly title: string
      readonly verified: boolean
      readonly txn: string
    },
  ): Promise<Result<Passkey, PasskeyRefusal>>
  /** Whether one that they add now without being verified does: they have nothing but a password. */
  countsAtOnce(person: string): Promise<boolean>
  /**
   * What the browser needs to sign anybody in, or to confirm something. `binding` names what asks, as above.
   */
  ask(binding: string, use?: AnswerUse): Promise<PublicKeyCredentialRequestOptionsJSON>
  /**
   * Who answered: the challenge was asked by this sign-in and not used before, the origin and RP id are ours,
   * the user was verified, the signature and its counter fit (WebAuthn §7.2). NOT limited in rate.
   */
  verify(binding: string, answer: unknown, use?: AnswerUse): Promise<Result<PasskeyAnswer, PasskeyRefusal>>
  list(person: string): Promise<Passkey[]>
  /** False where this person has no such passkey. */
  rename(person: string, id: string, title: string): Promise<boolean>
  /**
   * On record with it. Sessions that it began go on: the caller ends them, with it in one transaction by
   * `along`.
   */
  remove(person: string, id: string, txn: string, along?: Along): Promise<boolean>
  /** Forgets answered challenges that would be over by now, and returns how many. */
  sweep(): Promise<number>
}

/** A sign-in's answer confirms nothing, nor the other way round. Default `sign in`. */
export type AnswerUse = Exclude<ChallengeUse, 'register'>

/**
 * RFC 8176: a key that need not be in hardware, a person who was there, and verified by PIN or body besides.
 */
export const passkeyAmr: readonly string[] = ['swk', 'user', 'mfa']

const perPersonMax = 20
const titleMax = 60
// EdDSA, ES256, RS256.
const algorithms = [-8, -7, -257]

/**
 * Passkeys (WebAuthn level 3) of local accounts: discoverable, user verification required, no attestation.
 * Undefined where PUBLIC_URL's host is an IP address: WebAuthn knows names only.
 */
export function createPasskeys(
  runtime: Pick<Runtime, 'database' | 'seal' | 'clock' | 'randomBytes' | 'publicUrl'>,
): Passkeys | undefined {
  const { database, seal, clock, publicUrl } = runtime
  const rpID = relyingParty(publicUrl)
  if (rpID === undefined) return undefined
  const { origin } = new URL(publicUrl)
  const expected = { expectedOrigin: origin, expectedRPID: rpID, requireUserVerification: true }
  const challenges = createChallenges(runtime)
  // Opaque, stable and kept nowhere: an authenticator shows it to whoever holds the device.
  const handleOf = (person: string) => seal.hash('passkey user handle', person)
  const now = () => new Date(clock.now())

  return {
    async offer(person, binding) {
      const existingPasskeys = await database.query<{ id: string; transports: AuthenticatorTransport[] }>(
        'select id, transports from passkeys where person = $1',
        [person.key],
      )
      return generateRegistrationOptions({
        rpName: 'Remit',
        rpID,
        userName: person.key,
        userDisplayName: person.name,
        userID: new Uint8Array(Buffer.from(handleOf(person.key), 'base64url')),
        attestationType: 'none',
        excludeCredentials: existingPasskeys,
        authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
        supportedAlgorithmIDs: algorithms,
        challenge: challenges.make('register', binding),
      })
    },
    async add(person, binding, { answer, title, verified: isByAnother, txn }) {
      if (!isLocal(person.key)) return refuse('not_local')
      const parsedAttestation = attestation.safeParse(answer)
      const challenge = parsedAttestation.success ? challengeIn(parsedAttestation.data) : undefined
      if (!parsedAttestation.success || challenge === undefined) return refuse('malformed')
      if (!(await challenges.use('register', binding, challenge))) return refuse('unknown_challenge')
      const verified = await judged(() =>
        verifyRegistrationResponse({
          ...expected,
          response: parsedAttestation.data,
          expectedChallenge: challenge,
          supportedAlgorithmIDs: algorithms,
        }),
      )
      if (!verified.ok) return verified
      const { credential, credentialDeviceType, credentialBackedUp } = verified.value.registrationInfo ?? {}
      if (!verified.value.verified || credential === undefined) return refuse('not_verified')
      const { id, publicKey, counter } = credential
      // The library takes it from the signed data and compares it with nothing: it may be of any length.
      if (id !== parsedAttestation.data.id) return refuse('malformed')
      return database.transaction((sql) =>
        insert(sql, {
          person: person.key,
          id,
          publicKey,
          counter,
          transports: parsedAttestation.data.response.transports,
          backupEligible: credentialDeviceType === 'multiDevice',
          backedUp: credentialBackedUp === true,
          title: titled(title),
          isByAnother,
          at: now(),
          txn,
        }),
      )
    },
    countsAtOnce: (person) => isFirstMeans(database, person, now()),
    ask: (binding, use = 'sign in') =>
      generateAuthenticationOptions({
        rpID,
        userVerification: 'required',
        challenge: challenges.make(use, binding),
      }),
    async verify(binding, answer, use = 'sign in') {
      const parsedAssertion = assertion.safeParse(answer)
      const challenge = parsedAssertion.success ? challengeIn(parsedAssertion.data) : undefined
      if (!parsedAssertion.success || challenge === undefined) return refuse('malformed')
      // Used up before anything else is looked at: one question, one try.
      if (!(await challenges.use(use, binding, challenge))) return refuse('unknown_challenge')
      const { id, response } = parsedAssertion.data
      const [row] = await database.query<KnownKey>(
        'select person, public_key, backup_eligible, verifies_from from passkeys where id = $1',
        [id],
      )
      // The handle is what the device says of whose it is: it must be the owner that we know.
      if (row === undefined || response.userHandle !== handleOf(row.person)) return refuse('unknown_passkey')
      const verified = await judged(() =>
        verifyAuthenticationResponse({
          ...expected,
          response: parsedAssertion.data,
          expectedChallenge: challenge,
          // The counter is judged below, by the statement that moves it: of two at once with one counter, one
          // wins.
          credential: { id, publicKey: new Uint8Array(row.public_key), counter: 0 },
        }),
      )
      if (!verified.ok) return verified
      const { verified: isSigned, authenticationInfo } = verified.value
      const { newCounter, credentialDeviceType, credentialBackedUp } = authenticationInfo
      if (!isSigned || (credentialDeviceType === 'multiDevice') !== row.backup_eligible)
        return refuse('not_verified')
      const moved = await database.query(
        `update passkeys set counter = $2, backed_up = $3, last_used_at = $4
         where id = $1 and (counter < $2 or (counter = 0 and $2 = 0)) returning id`,
        [id, newCounter, credentialBackedUp, now()],
      )
      if (moved.length === 0) return refuse('counter_went_back')
      return ok({ person: row.person, id, verifies: row.verifies_from.getTime() <= clock.now() })
    },
    list: (person) =>
      readRows<Passkey>(
        database,
        `select ${columns} from passkeys where person = $1 order by created_at, id`,
        [person],
      ),
    async rename(person, id, title) {
      const text = 'update passkeys set title = $3 where person = $1 and id = $2 returning id'
      return (await countRows(database, text, [person, id, titled(title)])) > 0
    },
    remove: (person, id, txn, along) =>
      database.transaction(async (sql) => {
        const text = 'delete from passkeys where person = $1 and id = $2 returning id'
        const isRemoved = (await countRows(sql, text, [person, id])) > 0
        if (isRemoved) {
          await sql.query('update people set passkey_removed_at = $2 where key = $1', [person, now()])
          await record(sql, atPages(person, txn), { event: 'passkey_removed', passkey: id })
          await along?.(sql)
        }
        return isRemoved
      }),
    sweep: challenges.sweep,
  }
}

/** The host of PUBLIC_URL as RP id; undefined for an IP address, which cannot be one. */
export function relyingParty(publicUrl: string): string | undefined {
  const { hostname } = new URL(publicUrl)
  return hostname.startsWith('[') || /^[\d.]+$/.test(hostname) ? undefined : hostname
}

/**
 * The library throws for whatever does not fit. It asks nothing of us while it judges: all of it is a
 * refusal.
 */
async function judged<T>(judge: () => Promise<T>): Promise<Result<T, 'not_verified'>> {
  try {
    return ok(await judge())
  } catch (error) {
    return refuse('not_verified', reasonOf(error))
  }
}

const titled = (title: string): string => title.trim().slice(0, titleMax) || 'Passkey'

interface NewPasskey {
  readonly person: string
  readonly id: string
  readonly publicKey: Uint8Array
  readonly counter: number
  readonly transports: readonly string[]
  readonly backupEligible: boolean
  readonly backedUp: boolean
  readonly title: string
  readonly isByAnother: boolean
  readonly at: Date
  readonly txn: string
}

async function insert(
  sql: Sql,
  newPasskey: NewPasskey,
): Promise<Result<Passkey, 'taken' | 'too_many' | 'needs_verification'>> {
  // Two registrations of one person wait for each other: together they would pass the limit.
  await sql.query('select from people where key = $1 for update', [newPasskey.person])
  const [existingCounts] = await sql.query<{ count: number; counting: number }>(
    `select count(*)::int as count, count(*) filter (where verifies_from <= $2)::int as counting
     from passkeys where person = $1`,
    [newPasskey.person, newPasskey.at],
  )
  const { count = 0, counting = 0 } = existingCounts ?? {}
  if (count >= perPersonMax) return refuse('too_many')
  // A password alone would become one that counts, a day later.
  if (counting > 0 && !newPasskey.isByAnother) return refuse('needs_verification')
  const counts = newPasskey.isByAnother || (await isFirstMeans(sql, newPasskey.person, newPasskey.at))
  const [added] = await readRows<Passkey>(
    sql,
    `insert into passkeys
       (id, person, public_key, counter, transports, backup_eligible, backed_up, title, created_at, verifies_from)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (id) do nothing
     returning ${columns}`,
    [
      newPasskey.id,
      newPasskey.person,
      newPasskey.publicKey,
      newPasskey.counter,
      newPasskey.transports,
      newPasskey.backupEligible,
      newPasskey.backedUp,
      newPasskey.title,
      newPasskey.at,
      counts ? newPasskey.at : new Date(newPasskey.at.getTime() + settlesMs),
    ],
  )
  if (added === undefined) return refuse('taken')
  await record(sql, atPages(newPasskey.person, newPasskey.txn), { event: 'passkey_added', passkey: added.id })
  return ok(added)
}

const columns = `id, title, backed_up as "backedUp", created_at as "createdAt", last_used_at as "lastUsedAt",
  verifies_from as "verifiesFrom"`

interface KnownKey {
  readonly person: string
  readonly public_key: Uint8Array
  readonly backup_eligible: boolean
  readonly verifies_from: Date
}
