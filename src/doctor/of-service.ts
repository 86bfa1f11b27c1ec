import { z } from 'zod'
import { type Finding, ok, problem, warning } from './finding.ts'

const readyzForm = z.looseObject({
  status: z.string(),
  version: z.string(),
  database: z.boolean(),
  permission_index: z.looseObject({ state: z.string(), lag_ms: z.number(), tuples: z.number() }).optional(),
  authorization_model: z
    .looseObject({ id: z.string(), known: z.boolean(), matches_file: z.boolean() })
    .optional(),
  embeddings: z.looseObject({ available: z.boolean(), reason: z.string().optional() }).optional(),
})

const remedies: Readonly<Record<string, readonly [says: string, remedy: string]>> = {
  database: ['it gets no answer from its database', 'Bring Postgres back.'],
  openfga: ['it gets no answer from OpenFGA', 'Bring OpenFGA back.'],
  database_whole: ['its database is an older copy', 'Run `remit recover`.'],
  openfga_whole: ['OpenFGA is an older copy', 'Run `remit recover`.'],
  clocks_together: [
    'its clock and its database’s are more than five minutes apart, and it answers nobody',
    'Let both follow one time server (NTP).',
  ],
  changes_heard: [
    'it does not hear who may still act, and answers nobody',
    'Let it reach the primary of Postgres by a session of its own.',
  ],
}

const lagMsMax = 60_000

/**
 * What `/readyz` of the operators means to a command of this `version`. `judgesLag`: false where the lag
 * grows while nobody asks, because OpenFGA may read from a secondary.
 */
export function ofService(
  answer: unknown,
  { judgesLag, version }: { readonly judgesLag: boolean; readonly version: string },
): readonly Finding[] {
  const parsed = readyzForm.safeParse(answer)
  if (!parsed.success)
    return [
      problem(
        'service',
        'What answers at the operators’ port is no Remit of this version.',
        'Look which process has that port (OPS_PORT).',
      ),
    ]
  const {
    status,
    version: running,
    permission_index: replica,
    authorization_model: model,
    embeddings,
    ...details
  } = parsed.data
  // What it hears counts for nothing then, and its session is not why.
  const isTold = (name: string) => name !== 'changes_heard' || details['clocks_together'] !== false
  const failing = Object.entries(remedies).filter(([name]) => details[name] === false && isTold(name))
  return [
    ...failing.map(([, [says, remedy]]) => problem('service', `The service runs, but ${says}.`, remedy)),
    ...(failing.length > 0
      ? []
      : [
          status === 'ok'
            ? ok('service', 'The service answers and is ready.')
            : problem('service', 'The service runs and is not ready.', 'Look into its log.'),
        ]),
    ...(running === version
      ? []
      : [
          warning(
            'version',
            `The service that runs is ${running}; this command is ${version}.`,
            'Restart the service if it was upgraded, or use the command of its own version.',
          ),
        ]),
    ...(replica ? [ofReplica(replica, judgesLag)] : []),
    ...(model ? [ofModel(model)] : []),
    ...(embeddings
      ? [
          embeddings.available
            ? ok('embedding', 'There is an embedding model.')
            : warning(
                'embedding',
                `There is no embedding model, so questions find words only: ${embeddings.reason ?? ''}`,
                'docs/embeddings.md says where one comes from. Then run `remit reembed`.',
              ),
        ]
      : []),
  ]
}

function ofReplica(replica: { state: string; lag_ms: number; tuples: number }, judgesLag: boolean): Finding {
  const { state, lag_ms: lagMs, tuples } = replica
  if (state !== 'following')
    return warning(
      'replica',
      `The replica of OpenFGA’s tuples is ${state}: answers are right, and slower.`,
      'Wait while it builds; if it does not end, look for its reason in the log.',
    )
  if (judgesLag && lagMs > lagMsMax)
    return problem(
      'replica',
      `The replica is ${Math.round(lagMs / 1_000)} seconds behind OpenFGA.`,
      'Look whether OpenFGA answers ReadChanges, and how busy it is.',
    )
  return ok('replica', `The replica follows OpenFGA, with ${tuples} tuples.`)
}

function ofModel({
  id,
  known,
  matches_file: matches,
}: {
  id: string
  known: boolean
  matches_file: boolean
}): Finding {
  if (!known)
    return problem(
      'model',
      'The service does not know which model is in force, and answers nobody.',
      'Bring the database back: its row names the model.',
    )
  return matches
    ? ok('model', `The model in force, ${id}, is that of this version.`)
    : warning(
        'model',
        `The model in force, ${id}, is not model.fga of this version.`,
        '`remit model plan` shows the difference; if it is meant, leave it.',
      )
}
