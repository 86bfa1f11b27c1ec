import { flag } from './forms.ts'
import { group } from './group.ts'

const settingNames = ['REMIT_DEMO', 'HOST', 'OPS_HOST', 'PUBLIC_URL']

/** Whether all of it is there to be looked at only. */
export const demo = group({
  settings: {
    REMIT_DEMO: flag
      .optional()
      .describe(
        'Sample corpus, people and demo tokens. Default on only when everything is embedded and loopback.',
      ),
    DEMO_SAMPLE: flag
      .default(true)
      .describe(
        'false: the demo starts empty, without the sample company, for people and documents of your own.',
      ),
  },
  read: ({ DEMO_SAMPLE }, { demo }) => ({
    demo,
    /** Whether the demo brings its company. */
    demoSample: demo && DEMO_SAMPLE,
  }),
  contradictions: (_, { demo, embedded, loopback }) => [
    {
      isSo: demo && !embedded,
      of: settingNames,
      problem:
        'REMIT_DEMO needs everything embedded: unset DATABASE_URL, OPENFGA_API_URL and TRUSTED_ISSUERS, or set REMIT_DEMO=false',
    },
    {
      isSo: demo && !loopback,
      of: settingNames,
      problem:
        'REMIT_DEMO needs HOST, OPS_HOST and PUBLIC_URL on loopback: anyone who reaches it could mint tokens',
    },
  ],
})
