<?php
$meta['account'] = array('string');
