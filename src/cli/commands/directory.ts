import { z } from 'zod'
import { keyAttributes } from '../../directory/directories.ts'
import { type Command, command, id, optional } from './command.ts'

const scim = z.strictObject({
  name: id,
  kind: z.literal('scim'),
  namespace: z.string().min(1),
  prefix: z.string().min(1),
  key_attribute: z.enum(keyAttributes),
})
const read = z.strictObject({
  name: id,
  kind: z.enum(['ldap', 'keycloak']),
  namespace: z.string().min(1),
  prefix: z.string().min(1),
  settings: z.record(z.string(), z.unknown()),
  secret: z.string().min(1),
  poll_seconds: optional(z.int()),
  max_age_seconds: optional(z.int()),
  required: optional(z.boolean()),
})

/** Directories, which bring people and groups, and the tokens and readings of them. */
export const directoryCommands = {
  directory_add: command(
    z.discriminatedUnion('kind', [scim, read]),
    async (given, { directories, publicUrl }) => {
      const { name, namespace, prefix } = given
      if (given.kind === 'scim') {
        await directories.add({ name, namespace, prefix, keyAttribute: given.key_attribute })
        return { directory: name, base_url: `${publicUrl}/scim/v2` }
      }
      const { kind, settings, secret, required: isRequired } = given
      const { poll_seconds: pollSeconds, max_age_seconds: maxAgeSeconds } = given
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
