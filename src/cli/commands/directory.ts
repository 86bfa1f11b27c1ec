import { z } from 'zod'
import { keyAttributes } from '../../directory/directories.ts'
import { type Command, command, id } from './command.ts'

/** Directories, which bring people and groups by SCIM, and their tokens. */
export const directoryCommands = {
  directory_add: command(
    z.strictObject({
      name: id,
      namespace: z.string().min(1),
      prefix: z.string().min(1),
      key_attribute: z.enum(keyAttributes),
    }),
    async ({ key_attribute: keyAttribute, ...directory }, { directories, publicUrl }) => {
      await directories.add({ ...directory, keyAttribute })
      return { directory: directory.name, base_url: `${publicUrl}/scim/v2` }
    },
  ),
  directory_list: command(z.strictObject({}), async (_, { directories }) => ({
    directories: (await directories.list()).map(
      ({ name: directory, keyAttribute, usersSeen, tokensEnd, issuer: _issuer, ...about }) => ({
        directory,
        ...about,
        users_seen: usersSeen,
        key_attribute: keyAttribute,
        tokens_end: tokensEnd.map((end) => end.toISOString()),
      }),
    ),
  })),
  directory_groups: command(z.strictObject({ name: id }), async ({ name }, { directories }) => ({
    groups: await directories.groupsOf(name),
  })),
  // Its answer holds the token, and is not what goes on record.
  directory_token: command(
    z.strictObject({ name: id, days: z.int(), only: z.boolean() }),
    async ({ name, days, only: isOnly }, { directories }) => {
      const { token, expiresAt } = await directories.issueToken(name, { days, isOnly })
      return { token, expires_at: expiresAt.toISOString() }
    },
  ),
} as const satisfies Record<string, Command>
