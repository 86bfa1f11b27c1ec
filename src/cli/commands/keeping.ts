import { z } from 'zod'
import { operator } from '../../audit/record.ts'
import { parseHeads } from '../../audit/seal/heads.ts'
import { readThread } from '../../audit/thread.ts'
import { AppError } from '../../kernel/errors.ts'
import { type Command, command } from './command.ts'

/** Keys, the record, and what mends a deployment. */
export const keepingCommands = {
  keys_rotate: command(z.strictObject({}), async (_, { keys }) => ({ kid: (await keys.rotate()).kid })),
  vault_list: command(z.strictObject({}), async (_, { vault }) => ({
    accounts: await vault.keyring.counts(),
  })),
  vault_rewrap: command(z.strictObject({}), (_, { vault, newTxn }) =>
    vault.keyring.rewrap(operator(newTxn())),
  ),
  recover: command(
    z.strictObject({ anyway: z.boolean().default(false) }),
    async ({ anyway }, { mayHaveForgotten, recover, newTxn }) => {
      // It ends everybody's sessions and tokens.
      if (!anyway && !(await mayHaveForgotten()))
        throw new AppError('conflict', {
          public:
            'Neither the database nor OpenFGA is known to be older than the other. Recovering ends every session and token; if an older copy of either was put in place all the same, say --anyway.',
        })
      return recover(newTxn())
    },
  ),
  trace: command(z.strictObject({ txn: z.string().min(1).max(64) }), async ({ txn }, { database }) => ({
    steps: (await readThread(database, txn)).map(
      ({ at: recordedAt, event, subject, actors, trace, detail, ...record }) => ({
        step: `${recordedAt.toISOString()} ${event}`,
        for: subject,
        by: actors,
        client: record.client,
        delegation: record.delegation ?? null,
        tool: record.tool ?? null,
        trace: trace ?? null,
        ...detail,
      }),
    ),
  })),
  audit_verify: command(
    // A head holds everything before it: few of a file are enough, and they have to fit into a request.
    z.strictObject({
      heads: z.array(z.looseObject({})).max(100).default([]),
      resume: z.boolean().default(false),
    }),
    ({ heads, resume }, { record: keeping }) => keeping.verify(parseHeads(heads), resume),
    ({ heads, resume }) => ({ heads: heads.length, resume }),
  ),
  audit_heads: command(
    z.strictObject({ after: z.int().min(0).default(0), limit: z.int().min(1).max(10_000).default(10_000) }),
    async ({ after: afterSeal, limit }, { record: keeping }) => ({
      heads: await keeping.heads(afterSeal, limit),
    }),
  ),
  audit_erase: command(
    z.strictObject({ subject: z.string().regex(/^user:[^*]/, 'must be user:SUBJECT, such as user:anne') }),
    ({ subject }, { record: keeping }) => keeping.erase(subject),
    // Whom it erases is what it must not keep.
    () => ({}),
  ),
  drift: command(z.strictObject({}), (_, { drift }) => drift()),
} as const satisfies Record<string, Command>
