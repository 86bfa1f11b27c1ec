/** Step 3: the key opens nothing. Step 2 without it. */
delete process.env['INVOICES_KEY']
await import('./step-2.ts')
