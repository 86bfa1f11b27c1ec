import { list } from './forms.ts'
import { group } from './group.ts'

const all = ['api', 'worker']

/** What this process does of all that the service does. */
export const roles = group({
  settings: {
    REMIT_ROLE: list
      .refine((names) => names.every((name) => all.includes(name)), {
        message: 'must be api, worker, or both with a comma between',
      })
      .default(all)
      .describe(
        'What this process does, with a comma between: `api` answers requests on PORT, `worker` takes documents in and reads sources. Default both. Each has to run somewhere. docs/scaling.md.',
      ),
  },
  read: ({ REMIT_ROLE: chosen }) => ({
    roles: { api: chosen.includes('api'), worker: chosen.includes('worker') },
  }),
  contradictions: ({ REMIT_ROLE: chosen }, _, env) => [
    {
      isSo: !env.DATABASE_URL && all.some((role) => !chosen.includes(role)),
      of: ['REMIT_ROLE', 'DATABASE_URL'],
      problem: 'REMIT_ROLE needs DATABASE_URL: an embedded database has one process, which does everything',
    },
  ],
})
