import { randomBytes } from 'node:crypto'
import { isId } from '@remit/contract/id'
import { z } from 'zod'
import { operator } from '../../audit/record.ts'
import { roles } from '../../delegation/administration/administrators.ts'
import { keyAttributes } from '../../directory/directories.ts'
import { keycloakSettings } from '../../directory/keycloak/reading.ts'
import { ldapSettings } from '../../directory/ldap/settings.ts'
import { invalid } from '../../kernel/errors.ts'
import { type Command, command, id, optional } from './command.ts'

const scim = z.strictObject({
  name: id,
  kind: z.literal('scim'),
  namespace: z.string().min(1),
  prefix: z.string().min(1),
  key_attribute: z.enum(keyAttributes),
})

/** Its settings are checked before they go on record: what is no setting of the kind may be a password. */
const readBy = <Kind extends string, Settings extends z.ZodType>(kind: Kind, settings: Settings) =>
  z.strictObject({
    name: id,
    kind: z.literal(kind),
    namespace: z.string().min(1),
    prefix: z.string().min(1),
    settings,
    secret: z.string().min(1),
    poll_seconds: optional(z.int()),
    max_age_seconds: optional(z.int()),
    required: optional(z.boolean()),
  })

/** Directories, which bring people and groups, and the tokens and readings of them. */
export const directoryCommands = {
  directory_add: command(
    z.discriminatedUnion('kind', [scim, readBy('ldap', ldapSettings), readBy('keycloak', keycloakSettings)]),
    async (newDirectory, { directories, publicUrl }) => {
      const { name, namespace, prefix } = newDirectory
      if (newDirectory.kind === 'scim') {
        await directories.add({ name, namespace, prefix, keyAttribute: newDirectory.key_attribute })
        return { directory: name, base_url: `${publicUrl}/scim/v2` }
      }
      const { kind, settings, secret, required: isRequired } = newDirectory
      const { poll_seconds: pollSeconds, max_age_seconds: maxAgeSeconds } = newDirectory
      await directories.add({
        name,
        namespace,
        prefix,
        kind,
        settings,
        secret,
        ...(pollSeconds !== undefined && { pollSeconds }),
        ...(maxAgeSeconds !== undefined && { maxAgeSeconds }),
        ...(isRequired !== undefined && { isRequired }),
      })
      return { directory: name }
    },
    (newDirectory) => {
      if (newDirectory.kind === 'scim') return newDirectory
      // Where its name belongs somebody may have given the secret itself.
      const { secret: _, ...recorded } = newDirectory
      return recorded
    },
  ),
  directory_list: command(z.strictObject({}), async (_, { directories }) => ({
    directories: (await directories.list()).map(
      ({ name: directory, keyAttribute, usersSeen, tokensEnd, issuer: _issuer, reading, ...about }) => ({
        directory,
        ...about,
        users_seen: usersSeen,
        key_attribute: keyAttribute,
        ...(reading === undefined
          ? { tokens_end: tokensEnd.map((end) => end.toISOString()) }
          : {
              origin: reading.origin,
              read_at: reading.readAt,
              ended_at: reading.endedAt,
              failures: reading.failures,
              problem: reading.problem,
              problems: reading.problems,
              stale: reading.isStale,
              required: reading.isRequired,
              waiting: reading.waiting,
            }),
      }),
    ),
  })),
  directory_groups: command(z.strictObject({ name: id }), async ({ name }, { directories }) => ({
    groups: await directories.groupsOf(name),
  })),
  directory_sync: command(z.strictObject({ name: id }), async ({ name }, { directories }) => {
    await directories.wake(name)
    return {}
  }),
  directory_waiting: command(z.strictObject({ name: id }), async ({ name }, { directories }) => ({
    waiting: await directories.waitingOf(name),
  })),
  directory_confirm: command(
    z.strictObject({ name: id, digest: z.string().min(1) }),
    async ({ name, digest }, { directories }) => {
      await directories.confirm(name, digest)
      return {}
    },
  ),
  // Its answer holds the token, and is not what goes on record.
  directory_token: command(
    z.strictObject({ name: id, days: z.int(), only: z.boolean() }),
    async ({ name, days, only: isOnly }, { directories }) => {
      const { token, expiresAt } = await directories.issueToken(name, { days, isOnly })
      return { token, expires_at: expiresAt.toISOString() }
    },
  ),
} as const satisfies Record<string, Command>

/** Of a local account, or `namespace/key` of somebody at a trusted issuer. */
const personKey = z.string().refine(isId, 'is not an account key')

/** People: their roles, their accounts, what they lent. */
export const peopleCommands = {
  admin_add: command(
    z.strictObject({
      subject: z.string().regex(/^user:./, 'must be user:SUBJECT, such as user:anne'),
      roles: z.array(z.enum(roles)).min(1),
    }),
    async ({ subject, roles: added }, { administrators }) => ({
      subject,
      roles: await administrators.add(subject, added),
    }),
  ),
  admin_list: command(z.strictObject({}), async (_, { administrators }) => ({
    administrators: (await administrators.list()).map(({ subject: administrator, roles }) => ({
      administrator,
      roles,
    })),
  })),
  admin_remove: command(
    z.strictObject({ subject: z.string(), roles: optional(z.array(z.enum(roles)).min(1)) }),
    async ({ subject, roles: removed }, { administrators }) => {
      if (!(await administrators.list()).some((administrator) => administrator.subject === subject))
        throw invalid('subject', `${subject} is no administrator.`)
      return { subject, roles: await administrators.remove(subject, removed) }
    },
  ),
  person_add: command(
    z.strictObject({ key: z.string(), name: z.string().min(1).max(200) }),
    async (person, { people }) => {
      await people.save(person)
      return { person: person.key }
    },
  ),
  person_disable: command(
    z.strictObject({ key: personKey, unknown: z.boolean().default(false) }),
    async ({ key, unknown }, { people, barring, newTxn }) => {
      // A mistyped key would bar nobody, and whoever was meant would go on.
      if (!unknown && !(await people.has(key)))
        throw invalid('key', `There is no account ${key}. To bar somebody who never signed in: --unknown`)
      await barring.bar(key, operator(newTxn()))
      return { person: key }
    },
  ),
  person_enable: command(z.strictObject({ key: personKey }), async ({ key }, { barring, newTxn }) => {
    if (!(await barring.admit(key, operator(newTxn()))))
      throw invalid('key', `The person ${key} is not disabled.`)
    return { person: key }
  }),
  person_move: command(
    z.strictObject({ from: personKey, to: personKey, confirm: z.boolean().default(false) }),
    async ({ from: oldSubject, to: newSubject, confirm }, { personMove }) => ({
      ...(confirm
        ? await personMove.move(oldSubject, newSubject)
        : await personMove.look(oldSubject, newSubject)),
      moved: confirm,
    }),
    // In the form in which an erasure finds them.
    ({ from: oldSubject, to: newSubject, confirm }) => ({
      from: `user:${oldSubject}`,
      to: `user:${newSubject}`,
      confirm,
    }),
  ),
  password: command(z.strictObject({ user: z.string() }), async ({ user }, { passwords }) => {
    const password = randomBytes(15).toString('base64url')
    await passwords.set(user, password)
    return { password }
  }),
  delegation_list: command(
    z.strictObject({ user: z.string().regex(/^user:./, 'must be user:SUBJECT, such as user:anne') }),
    async ({ user }, { delegations }) => ({
      delegations: (await delegations.listOf(user as `user:${string}`)).map(
        ({ id: delegation, agent, scope, resource, details, state, expiresAt }) => ({
          delegation,
          agent,
          scope,
          ...(resource !== undefined && { resource, authorization_details: details }),
          state,
          expires_at: expiresAt.toISOString(),
        }),
      ),
    }),
  ),
  delegation_revoke: command(z.strictObject({ id }), async ({ id: delegation }, { delegations }) => {
    if (!(await delegations.revoke(delegation)))
      throw invalid('id', `There is no live delegation ${delegation}.`)
    return { delegation }
  }),
} as const satisfies Record<string, Command>
