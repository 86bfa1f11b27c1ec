import { flag } from './forms.ts'
import { group } from './group.ts'

/** Settings of a demo. */
export interface DemoConfig {
  readonly demo: boolean
  /** Whether the demo brings its company. */
  readonly demoSample: boolean
}

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
  read: ({ DEMO_SAMPLE }, { demo }): DemoConfig => ({ demo, demoSample: demo && DEMO_SAMPLE }),
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
