import { Control } from 'ldapts'

/** Takes a referral for the entry that it is (RFC 3296 §3). */
export class ManageDsaItControl extends Control {
  constructor() {
    super('2.16.840.1.113730.3.4.2', { critical: true })
  }
}
