/**
 * What this version's code obeys and an older one may not: by the name of the restriction, the version that
 * brought it. A restriction is added here one release before anything can bring it into force.
 */
export type Restrictions = Readonly<Record<string, string>>

export const knownRestrictions: Restrictions = {}
