import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { certificateFor } from '../support/certificate.ts'

// One for all stands of a run: of several in one name that sign themselves, clients look at the first alone.
export const { key, cert } = certificateFor('localhost')
setDefaultCACertificates([...getCACertificates('default'), cert])
