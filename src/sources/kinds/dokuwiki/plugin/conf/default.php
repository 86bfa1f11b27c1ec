<?php
// The account that may call this plugin. Empty: nobody.
$conf['account'] = '';
